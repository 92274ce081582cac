import type { Target } from '../config/paths.ts';
import { appendEvent } from '../releases/events-log.ts';
import { describeError } from '../system/log.ts';
import type { Appliance } from './appliance.ts';

export interface HistoryEntry {
  action: string;
  by: string;
  release?: number;
  outcome: 'done' | 'failed';
  /** code of the error, where there was one */
  code?: string;
}

/** Adds a line to events.jsonl. What was done is done, so a line that cannot be written is logged and no error. */
export async function writeHistory(
  { paths, log }: Appliance,
  target: Target,
  entry: HistoryEntry,
): Promise<void> {
  try {
    await appendEvent(paths.events, { at: new Date().toISOString(), ...target, ...entry });
  } catch (error) {
    log.error('history not written', { ...target, ...entry, error: describeError(error) });
  }
}

import type { EnvironmentId } from '../config/paths.ts';
import { appendEvent, type LoggedEvent } from '../releases/events-log.ts';
import type { Appliance } from './appliance.ts';

interface HistoryEntry {
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
  target: EnvironmentId,
  entry: HistoryEntry,
): Promise<void> {
  await recordEvent({ paths, log }, { ...target, ...entry });
}

/** The same of what may not be about one app alone. */
export async function recordEvent(
  { paths, log }: Pick<Appliance, 'paths' | 'log'>,
  event: Omit<LoggedEvent, 'at'>,
): Promise<void> {
  try {
    await appendEvent(paths.events, { at: new Date().toISOString(), ...event });
  } catch (error) {
    log.error('history not written', { ...event, error });
  }
}

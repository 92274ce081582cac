import type { EnvironmentId } from '../config/paths.ts';
import { appendEvent, type LoggedEvent } from '../releases/events-log.ts';
import type { Appliance } from './appliance.ts';

interface HistoryEntry {
  action: string;
  by: string;
  release?: number;
  outcome: 'done' | 'failed';
  /** code of the error, if there was one */
  code?: string;
}

/** Adds a line about an app to the history. The change is already made, so an error is only logged. */
export async function writeHistory(
  { paths, log }: Appliance,
  id: EnvironmentId,
  entry: HistoryEntry,
): Promise<void> {
  await recordEvent({ paths, log }, { ...id, ...entry });
}

/** Adds a line to the history. An error is only logged. */
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

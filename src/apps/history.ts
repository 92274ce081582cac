import { open } from 'node:fs/promises';
import type { EnvironmentId } from '../config/paths.ts';
import { hasTornLine } from '../system/fs/files.ts';
import type { Appliance } from './appliance.ts';

/** Line of `events.jsonl`: an action on an app, with its time, user and outcome. */
export interface LoggedEvent {
  /** ISO 8601, UTC */
  at: string;
  by: string;
  action: string;
  app: string;
  environment: string;
  release?: number;
  /** host name, for actions on domains */
  domain?: string;
  outcome: string;
  /** code of the error, if any */
  code?: string;
}

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

/**
 * Appends a line to the history and syncs it to the disk. If a crash or a full disk has left an incomplete line, starts a new
 * line, so that only the incomplete line is lost.
 */
export async function appendEvent(path: string, event: LoggedEvent): Promise<void> {
  const handle = await open(path, 'a+', 0o600);
  try {
    const start = (await hasTornLine(handle)) ? '\n' : '';
    await handle.appendFile(`${start}${JSON.stringify(event)}\n`);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

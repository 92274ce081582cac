import { open } from 'node:fs/promises';
import { hasTornLine } from '../system/fs/files.ts';

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

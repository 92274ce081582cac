import { open, rename } from 'node:fs/promises';
import { Lock } from '../system/concurrency/slots.ts';
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
  /** background process that was restarted alone */
  process?: string;
  /** host name, for actions on domains */
  domain?: string;
  /** of a revert */
  reason?: string;
  /** of a one-off command, without values of variables */
  command?: string;
  /** exit status of a one-off command; 128 and the number of the signal that ended it */
  status?: number;
  durationMs?: number;
  outcome: string;
  /** code of the error, if any */
  code?: string;
}

/** Size of the history from which a new file begins, in bytes: a caller with the scope `run` adds lines without an end. */
const maxBytes = 8 * 1024 ** 2;

/** Writes one line at a time: two writers would both rename the file. */
const writes = new Lock();

/**
 * Adds a line to the history and syncs it to the disk. A full file replaces the one before it, `events.jsonl.1`. If a crash or a full disk has left an incomplete line, starts a new
 * line, so that only the incomplete line is lost. The change is already made, so an error is only logged.
 */
export async function writeHistory(
  { paths, log }: Pick<Appliance, 'paths' | 'log'>,
  event: Omit<LoggedEvent, 'at'>,
): Promise<void> {
  try {
    await writes.run(async () => {
      if (await append(paths.events, event)) await rename(paths.events, paths.earlierEvents);
    });
  } catch (error) {
    log.error('history not written', { ...event, error });
  }
}

/** @returns true if the file is full */
async function append(path: string, event: Omit<LoggedEvent, 'at'>): Promise<boolean> {
  await using handle = await open(path, 'a+', 0o600);
  const start = (await hasTornLine(handle)) ? '\n' : '';
  await handle.appendFile(`${start}${JSON.stringify({ at: new Date().toISOString(), ...event })}\n`);
  await handle.datasync();
  return (await handle.stat()).size >= maxBytes;
}

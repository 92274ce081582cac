import { open } from 'node:fs/promises';

/** One line of `events.jsonl`: who did what to which app, when, and how it ended. */
export interface LoggedEvent {
  /** ISO 8601, UTC */
  at: string;
  by: string;
  action: string;
  app: string;
  environment: string;
  release?: number;
  /** a host name, where it is about one */
  domain?: string;
  outcome: string;
  /** code of the error, where there was one */
  code?: string;
}

/**
 * Adds a line to the history, on the disk when this returns. Where a crash or a full disk has left half a line, the
 * next one starts on a line of its own, so that a reader loses no more than the torn one.
 */
export async function appendEvent(path: string, event: LoggedEvent): Promise<void> {
  const handle = await open(path, 'a+', 0o600);
  try {
    const { size } = await handle.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    const torn = size > 0 && last.toString() !== '\n';
    await handle.appendFile(`${torn ? '\n' : ''}${JSON.stringify(event)}\n`);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

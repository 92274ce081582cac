import { openSync, renameSync, statSync } from 'node:fs';
import { isRefusedByDisk } from '../errors/app-error.ts';

const largest = 10 * 1024 ** 2;

/**
 * Opens our own log to append to it; one that is large becomes `sluice.log.1` first, in place of the one before. A
 * runner that is still there from an earlier server goes on writing into that. If the disk refuses to open the log, stderr is
 * the log: a full disk must not keep apps down.
 * @returns its file descriptor
 */
export function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > largest) setAside(path);
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    if (!isRefusedByDisk(error)) throw error;
    return process.stderr.fd;
  }
}

/** A directory may be beyond us, for example on a full disk; a log that grows on is better than no start. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.1`);
  } catch {}
}

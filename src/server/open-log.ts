import { openSync, renameSync, statSync } from 'node:fs';

const largest = 10 * 1024 ** 2;

/**
 * Opens our own log to append to it; one that is large becomes `sluice.log.1` first, in place of the one before. A
 * runner that is still there from an earlier server goes on writing into that.
 * @returns its file descriptor
 */
export function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > largest) setAside(path);
  return openSync(path, 'a', 0o600);
}

/** A directory may be beyond us, for example on a full disk; a log that grows on is better than no start. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.1`);
  } catch {}
}

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { listDirectory } from '../system/files.ts';

/** How many generations' output is kept: those that may still be draining, and some to look back at. */
const kept = 20;

/** Removes the output of generations that ended long ago, of those that did not start too. */
export async function removeOldLogs(directory: string): Promise<void> {
  const logs = (await listDirectory(directory)).filter((name) => /^\d+\.(?:failed\.)?log$/.test(name));
  const newestFirst = logs.sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
  await Promise.all(newestFirst.slice(kept).map((name) => rm(join(directory, name), { force: true })));
}

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { logFiles } from './logs.ts';

/** How many generations' output is kept: those that may still be draining, and some to look back at. */
const kept = 20;

/** Removes the output of generations that ended long ago. */
export async function removeOldLogs(directory: string): Promise<void> {
  const files = await logFiles(directory);
  await Promise.all(files.slice(0, -kept).map((name) => rm(join(directory, name), { force: true })));
}

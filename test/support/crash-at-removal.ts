import { readFileSync, rmSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

/**
 * Loaded into a server before anything else: where the file `crash-at` in its home has `before` or `after`, the server is gone
 * at once before or after it moves the files of a removed app aside, and so is the file.
 */
const marker = join(process.env['SLUICE_HOME'] as string, 'crash-at');
const { rename } = promises;

promises.rename = async (from, to) => {
  const moment = String(to).includes('/.removing-') ? read() : undefined;
  if (moment !== undefined) rmSync(marker);
  if (moment !== 'before') await rename(from, to);
  if (moment !== undefined) process.kill(process.pid, 'SIGKILL');
};
syncBuiltinESMExports();

function read(): string | undefined {
  try {
    return readFileSync(marker, 'utf8');
  } catch {
    return undefined;
  }
}

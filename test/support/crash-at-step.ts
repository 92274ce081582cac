import { subscribe } from 'node:diagnostics_channel';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Loaded into a server before anything else: where the file `crash-at` in its home names the step that a deploy is
 * about to begin, the server is gone at once, and so is the file.
 */
const marker = join(process.env['SLUICE_HOME'] as string, 'crash-at');

subscribe('sluice:deploy:step', (message) => {
  if ((message as { step: string }).step !== read()) return;
  rmSync(marker);
  process.kill(process.pid, 'SIGKILL');
});

function read(): string | undefined {
  try {
    return readFileSync(marker, 'utf8');
  } catch {
    return undefined;
  }
}

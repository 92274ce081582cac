import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { runChild } from '../../src/edge/child.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a program whose last line is incomplete fails, and the error does not quote the line', async (t) => {
  const program = join(await temporaryDirectory(t), 'cut.mjs');
  // The memory of a machine may run out while the program prints a private key.
  for (const end of ["process.kill(process.pid, 'SIGKILL')", 'process.exit(0)']) {
    const key = '"-----BEGIN PRIVATE KEY-----\\nMIIEvQ" x';
    await writeFile(program, `process.stdout.write(${JSON.stringify(key)}, () => ${end});`);
    const lines: string[] = [];
    const onLine = (line: string) => void lines.push(line);
    const running = runChild(pathToFileURL(program).href, {}, { onLine });
    await assert.rejects(running, (error: Error) => {
      assert.match(error.message, /ended with SIGKILL|a line that cannot be read/);
      return !`${error.stack}`.includes('MIIEvQ');
    });
    assert.deepEqual(lines, []);
  }
});

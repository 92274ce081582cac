import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../support/temporary.ts';

const execPath = fileURLToPath(new URL('../../src/worker/exec-path', import.meta.url));

test('a command with an empty environment gets the next node in PATH', async (t) => {
  const directory = await temporaryDirectory(t);
  const run = (...path: string[]) =>
    spawnSync('node', ['-p', '"a b"'], { env: { PATH: path.join(delimiter) }, encoding: 'utf8' });
  const alone = run(execPath, execPath, directory);
  assert.deepEqual([alone.status, alone.stderr], [127, 'node: not found\n']);
  symlinkSync(process.execPath, join(directory, 'node'));
  assert.equal(run(execPath, `${execPath}/`, directory).stdout, 'a b\n');
});

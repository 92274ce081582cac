import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const log = fileURLToPath(new URL('../../src/system/log.ts', import.meta.url));

test('a process whose log and stderr lie on a full disk goes on', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const script = `
      const { createLog } = await import(${JSON.stringify(log)});
      const say = createLog(2, 'runner');
      for (let line = 0; line < 100; line += 1) say('something');
      setImmediate(() => console.log('still here'));
    `;
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', full],
      encoding: 'utf8',
    });
    assert.deepEqual([status, stdout], [0, 'still here\n']);
  } finally {
    closeSync(full);
  }
});

import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryDirectory } from '../support/temporary.ts';

const require = createRequire(import.meta.url);
const { createHandle } = require('../../src/worker/listen.cjs');
const { callForPath } = require('../../src/worker/unix-socket.cjs');

async function start(t: TestContext) {
  const path = join(await temporaryDirectory(t), 'app.sock');
  const handles: { close(): void }[] = [];
  t.after(() => {
    for (const handle of handles) handle.close();
  });
  const call = callForPath({
    ...{ server: createServer(), path, backlog: 0, key: 'shop' },
    createHandle: (at: string) => {
      const handle = createHandle(at, -1, -1);
      handles.push(handle);
      return handle;
    },
  });
  return { path, call };
}

test('a temporary link of a killed worker does not stop other workers from taking over the path', async (t) => {
  const { path, call } = await start(t);
  writeFileSync(`${path}.shop.${process.pid}`, '');
  assert.equal(typeof call.reserve(), 'object');
  assert.equal(statSync(path).ino, statSync(`${path}.shop`).ino);
  assert.ok(!existsSync(`${path}.shop.${process.pid}`));
});

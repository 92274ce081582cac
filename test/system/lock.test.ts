import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { lockHolder, tryLock } from '../../src/system/fs/lock.ts';
import { temporaryDirectory } from '../support/temporary.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('a lock is held until its release, even if the caller drops the returned object', async (t) => {
  const path = join(await temporaryDirectory(t), 'lock');
  assert.equal(await lockHolder(path), undefined);
  assert.ok(tryLock(path));
  for (let round = 0; round < 5; round += 1) {
    await new Promise(setImmediate);
    collectGarbage();
  }
  assert.equal(tryLock(path), undefined);
  assert.equal(await lockHolder(path), process.pid);
});

test('a lock that was released can be taken again', async (t) => {
  const path = join(await temporaryDirectory(t), 'lock');
  tryLock(path)?.[Symbol.dispose]();
  assert.equal(await lockHolder(path), undefined);
  const again = tryLock(path);
  assert.ok(again);
  again[Symbol.dispose]();
});

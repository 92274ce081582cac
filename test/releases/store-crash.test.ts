import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Paths } from '../../src/config/paths.ts';
import { releaseState } from '../../src/releases/release.ts';
import { ReleaseStore } from '../../src/releases/store.ts';
import { readLink } from '../../src/system/fs/files.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const id = { app: 'shop', environment: 'production' };

test('after a kill at any instant, the next start repairs the store: no partial tree, no number twice', async (t) => {
  const home = await temporaryDirectory(t);
  const paths = new Paths(home).environment(id);
  let last = 0;
  for (let turn = 0; turn < 15; turn++) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'store-crash-child.ts'), home], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    await once(child.stdout, 'data');
    // A random instant of the work between two numbers, which takes about 20 ms.
    setTimeout(() => child.kill('SIGKILL'), turn * 7 + Math.random() * 7);
    await once(child, 'close');

    const given = output.split('\n').slice(0, -1).map(Number);
    for (const number of given) {
      assert.ok(number > last, `number ${number} came after ${last}`);
      last = number;
    }
    const store = new ReleaseStore(id, paths);
    await store.reconcile();
    await assertInOrder(store, home);
  }
  assert.ok(last >= 15, `only ${last} deploys have started`);
});

async function assertInOrder(store: ReleaseStore, home: string): Promise<void> {
  const paths = new Paths(home).environment(id);
  const active = await store.active();
  const activeRelease = active?.release ?? null;
  assert.deepEqual(await readdir(paths.staging), []);
  assert.equal(
    await readLink(paths.current),
    activeRelease === null ? undefined : `releases/${activeRelease}`,
  );
  for (const record of await store.list()) {
    const { number } = record;
    const hasTree = await store.hasTree(number);
    const state = releaseState(record, { activeRelease, hasTree, underWay: false });
    assert.equal(hasTree, state === 'live' || state === 'retained', `release ${number} is ${state}`);
    if (state === 'failed') assert.notEqual(record.error, null, `release ${number} says why it failed`);
    if (hasTree) assert.equal((await readdir(join(paths.release(number).directory, 'lib'))).length, 20);
  }
}

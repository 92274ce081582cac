import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { resolveWorkers } from '../../src/start/workers.ts';
import { writeTree } from '../support/builds.ts';
import { temporaryDirectory } from '../support/temporary.ts';

async function auto(t: TestContext, dependencies: Record<string, string>, cores = 4) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies } });
  return await resolveWorkers('auto', directory, cores);
}

test('a number, "max" and numbers below zero are taken as they say, whatever the dependencies', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies: { 'better-sqlite3': '1' } } });
  const count = async (setting: number | 'max') => (await resolveWorkers(setting, directory, 4)).count;
  assert.equal(await count(7), 7);
  assert.equal(await count('max'), 4);
  assert.equal(await count(-1), 3);
  assert.equal(await count(-9), 1);
  assert.equal(await count(0), 4);
});

test('"auto" is a worker a core', async (t) => {
  assert.deepEqual(await auto(t, { express: '5' }), { count: 4, reason: null });
  assert.deepEqual(await resolveWorkers('auto', await temporaryDirectory(t), 2), { count: 2, reason: null });
});

for (const name of ['better-sqlite3', 'lowdb', 'node-cron', '@nestjs/schedule', 'socket.io']) {
  test(`"auto" is one worker with ${name}, and says why and how to change it`, async (t) => {
    const { count, reason } = await auto(t, { express: '5', [name]: '1' });
    assert.equal(count, 1);
    assert.match(reason ?? '', new RegExp(`^1 worker, not 4: ${name} .*"workers" in sluice\\.json`));
  });
}

test('socket.io with an adapter may have many workers', async (t) => {
  assert.equal((await auto(t, { 'socket.io': '4', '@socket.io/redis-adapter': '8' })).count, 4);
});

test('there is nothing to explain on one core', async (t) => {
  assert.deepEqual(await auto(t, { sqlite3: '5' }, 1), { count: 1, reason: null });
});

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { resolveWorkers } from '../../../src/build/start-command/workers.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function auto(t: TestContext, dependencies: Record<string, string>, cores = 4) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies } });
  return await resolveWorkers('auto', directory, cores);
}

test('a number, a negative number and "max" apply whatever the dependencies are', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies: { 'better-sqlite3': '1' } } });
  const count = async (setting: number | 'max') => (await resolveWorkers(setting, directory, 4)).count;
  assert.equal(await count(7), 7);
  assert.equal(await count('max'), 4);
  assert.equal(await count(-1), 3);
  assert.equal(await count(-9), 1);
  assert.equal(await count(0), 4);
});

test('"auto" is one worker per core', async (t) => {
  assert.deepEqual(await auto(t, { express: '5' }), { count: 4, reason: null });
  assert.deepEqual(await resolveWorkers('auto', await temporaryDirectory(t), 2), { count: 2, reason: null });
});

for (const name of ['better-sqlite3', 'lowdb', 'node-cron', '@nestjs/schedule']) {
  test(`"auto" is one worker with ${name}, and the reason names the setting`, async (t) => {
    const { count, reason } = await auto(t, { express: '5', [name]: '1' });
    assert.equal(count, 1);
    assert.match(reason ?? '', new RegExp(`^1 worker, not 4: ${name} .*"workers" in sluice\\.json`));
  });
}

for (const adapter of ['@socket.io/redis-adapter', '@socket.io/cluster-adapter', '@socket.io/sticky']) {
  test(`"auto" is one worker with socket.io and ${adapter}`, async (t) => {
    const { count, reason } = await auto(t, { 'socket.io': '4', [adapter]: '8' });
    assert.equal(count, 1);
    assert.match(reason ?? '', /^1 worker, not 4: all requests of a polling socket\.io client .* adapter/);
  });
}

test('"auto" is one worker with other packages whose clients poll', async (t) => {
  for (const name of ['@nestjs/platform-socket.io', '@feathersjs/socketio', 'engine.io', 'sockjs', 'faye']) {
    assert.equal((await auto(t, { [name]: '1' })).count, 1, name);
  }
});

test('one core needs no reason', async (t) => {
  assert.deepEqual(await auto(t, { sqlite3: '5' }, 1), { count: 1, reason: null });
});

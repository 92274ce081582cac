import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { usesNodeSqlite } from '../../../src/build/start-command/node-sqlite.ts';
import { resolveWorkers } from '../../../src/build/start-command/workers.ts';
import { writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

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

for (const name of ['better-sqlite3', 'lowdb', 'node-cron', '@nestjs/schedule']) {
  test(`"auto" is one worker with ${name}, and says why and how to change it`, async (t) => {
    const { count, reason } = await auto(t, { express: '5', [name]: '1' });
    assert.equal(count, 1);
    assert.match(reason ?? '', new RegExp(`^1 worker, not 4: ${name} .*"workers" in sluice\\.json`));
  });
}

async function autoWith(t: TestContext, files: Record<string, unknown>) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return await resolveWorkers('auto', directory, 4);
}

test('"auto" is one worker where the code of the app uses node:sqlite, and says so', async (t) => {
  for (const [path, code] of [
    ['server.js', "const { DatabaseSync } = require('node:sqlite');"],
    ['src/data/db.ts', 'import { DatabaseSync } from "node:sqlite";'],
    ['dist/db.mjs', 'const sqlite = await import(`node:sqlite`);'],
  ] as const) {
    const { count, reason } = await autoWith(t, { 'index.js': '', [path]: code });
    assert.equal(count, 1, path);
    assert.match(reason ?? '', /^1 worker, not 4: node:sqlite, .*"workers" in sluice\.json/);
  }
});

test('node:sqlite in packages, tests, prose and in more code than is searched does not count', async (t) => {
  const code = "require('node:sqlite')";
  const elsewhere = {
    'node_modules/x/index.js': code,
    'test/db.js': code,
    'src/db.test.ts': code,
    'README.md': code,
    'server.js': '// not with node:sqlite',
  };
  assert.deepEqual(await autoWith(t, elsewhere), { count: 4, reason: null });
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'a.js': '1', 'below/db.js': code });
  assert.equal(await usesNodeSqlite(directory), true);
  assert.equal(await usesNodeSqlite(directory, { files: 1, bytes: 99, fileBytes: 99 }), false);
  assert.equal(await usesNodeSqlite(directory, { files: 9, bytes: 9, fileBytes: 99 }), false);
  assert.equal(await usesNodeSqlite(directory, { files: 9, bytes: 99, fileBytes: 9 }), false);
});

for (const adapter of ['@socket.io/redis-adapter', '@socket.io/cluster-adapter', '@socket.io/sticky']) {
  test(`"auto" is one worker with socket.io and ${adapter}: polling clients need one process`, async (t) => {
    const { count, reason } = await auto(t, { 'socket.io': '4', [adapter]: '8' });
    assert.equal(count, 1);
    assert.match(reason ?? '', /^1 worker, not 4: all requests of a polling socket\.io client .* adapter/);
  });
}

test('"auto" is one worker with packages that use socket.io, or whose clients poll like those of socket.io', async (t) => {
  for (const name of ['@nestjs/platform-socket.io', '@feathersjs/socketio', 'engine.io', 'sockjs', 'faye']) {
    assert.equal((await auto(t, { [name]: '1' })).count, 1, name);
  }
});

test('there is nothing to explain on one core', async (t) => {
  assert.deepEqual(await auto(t, { sqlite3: '5' }, 1), { count: 1, reason: null });
});

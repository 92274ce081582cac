import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { checkAffinity, resolveWorkers } from '../../../src/build/start-command/workers.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

async function auto(
  t: TestContext,
  names: string,
  cores = 4,
  settings: Parameters<typeof appSettings>[0] = {},
) {
  const directory = await temporaryDirectory(t);
  const dependencies = Object.fromEntries(names.split(' ').map((name) => [name, '1']));
  await writeTree(directory, { 'package.json': { dependencies } });
  return await resolveWorkers(appSettings(settings), directory, cores);
}

test('a number, a negative number and "max" apply whatever the dependencies are', async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { 'package.json': { dependencies: { 'better-sqlite3': '1' } } });
  const count = async (setting: number | 'max') =>
    (await resolveWorkers(appSettings({ workers: setting }), directory, 4)).count;
  assert.equal(await count(7), 7);
  assert.equal(await count('max'), 4);
  assert.equal(await count(-1), 3);
  assert.equal(await count(-9), 1);
  assert.equal(await count(0), 4);
});

test('"auto" is one worker per core', async (t) => {
  assert.deepEqual(await resolveWorkers(appSettings(), await temporaryDirectory(t), 2), {
    count: 2,
    reason: null,
  });
});

/** Dependencies, the package that decides, and a part of its reason. */
const one: [dependencies: string, decides: string, because: RegExp][] = [
  ['better-sqlite3', 'better-sqlite3', /embedded database/],
  ['@libsql/client', '@libsql/client', /embedded database/],
  ['lowdb', 'lowdb', /embedded database/],
  ['classic-level', 'classic-level', /embedded database/],
  ['@strapi/strapi better-sqlite3 pg', 'better-sqlite3', /embedded database/],
  ['node-cron', 'node-cron', /scheduler/],
  ['@nestjs/schedule ioredis', '@nestjs/schedule', /scheduler/],
  ['telegraf', 'telegraf', /every worker would answer/],
  ['ghost mysql2', 'ghost', /single process/],
  ['@directus/api pg', '@directus/api', /without Redis/],
  ['socket.io', 'socket.io', /no dependency carries messages/],
  ['socket.io @socket.io/redis-adapter redis', 'socket.io', /even if an adapter/],
  ['socket.io @socket.io/cluster-adapter', 'socket.io', /even if an adapter/],
  ['@nestjs/platform-socket.io redis', '@nestjs/platform-socket.io', /must reach the same process/],
  ['@feathersjs/socketio redis', '@feathersjs/socketio', /must reach the same process/],
  ['engine.io', 'engine.io', /must reach the same process/],
  ['sockjs redis', 'sockjs', /must reach the same process/],
  ['faye redis', 'faye', /must reach the same process/],
  ['ws', 'ws', /no dependency carries messages/],
  ['@fastify/websocket', '@fastify/websocket', /no dependency carries messages/],
  ['graphql-ws', 'graphql-ws', /no dependency carries messages/],
  ['express-session', 'express-session', /keeps sessions inside the process/],
  ['express-session passport ioredis', 'express-session', /keeps sessions inside the process/],
  ['@fastify/session', '@fastify/session', /keeps sessions inside the process/],
  ['express-session connect-redis memorystore redis', 'memorystore', /keeps sessions inside the process/],
  ['express-rate-limit', 'express-rate-limit', /counts requests/],
  ['p-queue', 'p-queue', /queue inside the process/],
  ['node-cache', 'node-cache', /cache inside the process/],
  ['lru-cache ioredis', 'lru-cache', /cache inside the process/],
  ['cache-manager', 'cache-manager', /cache inside the process/],
];

for (const [dependencies, decides, because] of one) {
  test(`"auto" is one worker with ${dependencies}, and the reason names ${decides}`, async (t) => {
    const { count, reason } = await auto(t, dependencies);
    assert.equal(count, 1);
    assert.ok(reason?.startsWith(`1 worker, not 4: ${decides} `), reason ?? 'no reason');
    assert.match(reason ?? '', because);
    assert.match(reason ?? '', /set "(?:workers|affinity)".* in sluice\.json/);
  });
}

const several = [
  'express',
  'express pg ioredis bullmq',
  'ws ioredis',
  'ws pg-listen',
  '@fastify/websocket nats',
  'graphql-ws graphql-redis-subscriptions',
  'express-session connect-redis redis',
  'express-session connect-pg-simple pg passport',
  'cookie-session',
  'koa-session',
  '@fastify/session connect-mongo',
  'express-rate-limit rate-limit-redis',
  '@nestjs/cache-manager cache-manager @keyv/redis',
  '@directus/api pg ioredis',
  'multer',
];

for (const dependencies of several) {
  test(`"auto" is one worker per core with ${dependencies}`, async (t) => {
    assert.deepEqual(await auto(t, dependencies), { count: 4, reason: null });
  });
}

/** Dependencies with "affinity": "client", and the package that decides in spite of it; undefined for one worker per core. */
const withAffinity: [dependencies: string, decides: string | undefined][] = [
  ['express-session', undefined],
  ['express-session express-rate-limit passport', undefined],
  ['socket.io @socket.io/redis-adapter redis', undefined],
  ['sockjs nats', undefined],
  ['socket.io', 'socket.io'],
  ['express-session better-sqlite3', 'better-sqlite3'],
  ['express-session ws', 'ws'],
  ['node-cache', 'node-cache'],
];

for (const [dependencies, decides] of withAffinity) {
  test(`with "affinity": "client", "auto" is one worker ${decides ? `because of ${decides}` : 'per core'} with ${dependencies}`, async (t) => {
    const { count, reason } = await auto(t, dependencies, 4, { affinity: 'client' });
    assert.equal(count, decides === undefined ? 4 : 1);
    if (decides !== undefined) assert.ok(reason?.startsWith(`1 worker, not 4: ${decides} `), `${reason}`);
  });
}

test('the reason offers "affinity" only if it is enough for several workers', async (t) => {
  const offers = async (dependencies: string) =>
    (await auto(t, dependencies)).reason?.includes('"affinity": "client"');
  assert.equal(await offers('express-session'), true);
  assert.equal(await offers('express-session lru-cache'), false);
  assert.equal(await offers('socket.io'), false);
  assert.equal(await offers('socket.io ioredis'), true);
});

test('dev dependencies do not count, optional ones do', async (t) => {
  const directory = await temporaryDirectory(t);
  const count = async (manifest: object) => {
    await writeTree(directory, { 'package.json': manifest });
    return (await resolveWorkers(appSettings(), directory, 4)).count;
  };
  assert.equal(await count({ devDependencies: { ws: '8' } }), 4);
  assert.equal(await count({ optionalDependencies: { ws: '8' } }), 1);
});

test('"auto" is one worker if the schema of Prisma names SQLite, and the reason names the file', async (t) => {
  const directory = await temporaryDirectory(t);
  const schema = (provider: string) => ({
    'package.json': { dependencies: { '@prisma/client': '6' } },
    'prisma/schema.prisma': `generator client {\n  provider = "prisma-client-js"\n}\n\ndatasource db {\n  provider = "${provider}"\n}\n`,
  });
  await writeTree(directory, schema('postgresql'));
  assert.equal((await resolveWorkers(appSettings(), directory, 4)).count, 4);
  await writeTree(directory, schema('sqlite'));
  const { count, reason } = await resolveWorkers(appSettings(), directory, 4);
  assert.equal(count, 1);
  assert.match(reason ?? '', /^1 worker, not 4: prisma\/schema\.prisma names an SQLite database/);
});

test('"auto" is one worker with "overlap": false', async (t) => {
  const { count, reason } = await resolveWorkers(
    appSettings({ overlap: false }),
    await temporaryDirectory(t),
    4,
  );
  assert.equal(count, 1);
  assert.match(reason ?? '', /^1 worker, not 4: with "overlap": false/);
});

test('one core needs no reason', async (t) => {
  assert.deepEqual(await auto(t, 'sqlite3', 1), { count: 1, reason: null });
});

test('several workers in exec mode cannot have clients of their own, and the error says so before the build', () => {
  const settings = appSettings({ affinity: 'client' });
  assert.throws(() => checkAffinity(settings, true, 2), {
    code: 'unsupported_start',
    hint: /"workers" to 1/,
  });
  checkAffinity(settings, true, 1);
  checkAffinity(settings, false, 2);
  checkAffinity(appSettings(), true, 2);
});

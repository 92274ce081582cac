import assert from 'node:assert/strict';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { idOf, TestService } from '../support/service.ts';

test('an app whose state file is damaged', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('broken', answering('x'));
  await sluice.deploy('shop', answering('one'));
  await writeFile(sluice.paths.environment({ app: 'broken', environment: 'production' }).state, '{ oops');
  const names = async () => (await sluice.call<AppStatus[]>('GET', '/v1/apps')).map(({ name }) => name);

  await t.test('its status call reports the damage', async () => {
    await assert.rejects(sluice.status('broken'), {
      code: 'invalid_settings',
      message: /app\.json is not valid JSON/,
    });
  });

  await t.test('other apps are listed and created', async () => {
    assert.deepEqual(await names(), ['shop']);
    assert.equal((await sluice.deploy('blog', answering('two'))).state, 'live');
  });

  await t.test('the server starts and runs the other apps', async () => {
    assert.equal(await sluice.stop(), 0);
    await sluice.up();
    await sluice.untilRunning('shop');
    assert.deepEqual(await names(), ['blog', 'shop']);
    assert.equal(await sluice.get('shop'), 'one');
  });
});

test('a deploy that fails while it has the turn passes the turn on', async (t) => {
  const server = await TestService.start(t);
  await server.deploy('shop', answering('one'));
  const { record } = server.environment('shop').release(1);
  await rename(record, `${record}.aside`);
  await mkdir(record);
  await assert.rejects(server.deploy('shop', answering('two')), { code: 'EISDIR' });
  await rm(record, { recursive: true });
  await rename(`${record}.aside`, record);
  assert.equal((await server.deploy('shop', answering('three'))).state, 'live');
});

test('a damaged record of the live release blocks neither deploys nor rollbacks', async (t) => {
  const server = await TestService.start(t);
  const damage = (release: number) => writeFile(server.environment('shop').release(release).record, '{"num');
  await server.deploy('shop', answering('one'));
  await server.deploy('shop', answering('two'));
  await damage(2);
  assert.equal((await server.service.rollback(idOf('shop'), null, 'test')).number, 1);
  await damage(1);
  assert.equal((await server.deploy('shop', answering('three'))).state, 'live');
  const change = { restart: true, by: 'test' };
  const { outcome } = await server.service.changeVariables(idOf('shop'), { WORD: 'new' }, change);
  assert.equal(outcome, 'switched');
});

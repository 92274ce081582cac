import assert from 'node:assert/strict';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { AppStatus } from '../../src/apps/status.ts';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';

test('an app whose state is damaged on the disk', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('broken', answering('x'));
  await sluice.deploy('shop', answering('one'));
  await writeFile(sluice.paths.environment({ app: 'broken', environment: 'production' }).state, '{ oops');
  const names = async () => (await sluice.call<AppStatus[]>('GET', '/v1/apps')).map(({ name }) => name);

  await t.test('says itself what is wrong with it', async () => {
    await assert.rejects(sluice.status('broken'), {
      code: 'invalid_settings',
      message: /app\.json is not valid JSON/,
    });
  });

  await t.test('keeps the others neither from being listed nor from being created', async () => {
    assert.deepEqual(await names(), ['shop']);
    assert.equal((await sluice.deploy('blog', answering('two'))).state, 'live');
  });

  await t.test('nor the server from starting, and running them', async () => {
    assert.equal(await sluice.stop(), 0);
    await sluice.up();
    await sluice.untilRunning('shop');
    assert.deepEqual(await names(), ['blog', 'shop']);
    assert.equal(await sluice.get('shop'), 'one');
  });
});

test('a deploy that fails while it waits for its turn leaves the turn to the next one', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('one'));
  const { record } = sluice.paths.environment({ app: 'shop', environment: 'production' }).release(1);
  await rename(record, `${record}.aside`);
  await mkdir(record);
  await assert.rejects(sluice.deploy('shop', answering('two')), { code: 'internal' });
  await rm(record, { recursive: true });
  await rename(`${record}.aside`, record);
  assert.equal((await sluice.deploy('shop', answering('three'))).state, 'live');
});

test('a damaged record of the live release blocks neither deploys nor rollbacks', async (t) => {
  const sluice = await startSluice(t);
  const damage = (release: number) =>
    writeFile(
      sluice.paths.environment({ app: 'shop', environment: 'production' }).release(release).record,
      '{"num',
    );
  await sluice.deploy('shop', answering('one'));
  await sluice.deploy('shop', answering('two'));
  await damage(2);
  await sluice.call('POST', '/v1/apps/shop/rollback', {});
  assert.equal(await sluice.get('shop'), 'one');
  await damage(1);
  assert.equal((await sluice.deploy('shop', answering('three'))).state, 'live');
  assert.equal(await sluice.get('shop'), 'three');
  await sluice.call('PATCH', '/v1/apps/shop/env', { WORD: 'new' });
});

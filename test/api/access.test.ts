import assert from 'node:assert/strict';
import { test } from 'node:test';
import supertest from 'supertest';
import type { Scope } from '../../src/api/auth/tokens.ts';
import { answering } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const api = supertest(sluice.url);
await sluice.deploy('shop', answering('shop'));
await sluice.deploy('blog', answering('blog'));
await sluice.call('PATCH', '/v1/apps/shop/env?restart=false', { SECRET: 'correct horse' });

const bearer = async (name: string, scope: Scope, app: string | null = null) => {
  const made = await sluice.call<{ token: string }>('POST', '/v1/tokens', { name, scopes: [scope], app });
  return { Authorization: `Bearer ${made.token}` };
};

test('without a valid token, only /healthz answers', async () => {
  await api.get('/healthz').expect(200);
  for (const path of ['/v1/status', '/v1/apps', '/v1/apps/shop/env', '/v1/nothing', '/']) {
    const answer = await api
      .get(path)
      .expect(401)
      .expect('WWW-Authenticate', /Bearer/);
    assert.equal(answer.body.error.code, 'unauthorized');
    assert.match(answer.body.error.hint, /sluice token create/);
  }
  await api.get('/v1/apps').set('Authorization', 'Bearer slc_wrong').expect(401);
});

test('a token with scope read sees apps, and names of variables without values', async () => {
  const reader = await bearer('reader', 'read');
  const status = await api.get('/v1/status').set(reader).expect(200);
  assert.equal(status.body.server.pid, sluice.pid);
  assert.equal(typeof status.body.runner.pid, 'number');
  assert.deepEqual(status.body.apps.map(({ name }: { name: string }) => name).sort(), ['blog', 'shop']);
  const env = await api.get('/v1/apps/shop/env').set(reader).expect(200);
  assert.deepEqual(Object.keys(env.body), ['SECRET']);
  assert.ok(!env.text.includes('correct horse'));
  for (const [method, path] of [
    ['post', '/v1/apps/shop/releases'],
    ['post', '/v1/apps/shop/rollback'],
    ['post', '/v1/apps/shop/stop'],
    ['patch', '/v1/apps/shop/env'],
    ['get', '/v1/tokens'],
  ] as const) {
    const answer = await api[method](path).set(reader).expect(403);
    assert.equal(answer.body.error.code, 'forbidden', path);
  }
});

test('a token with scope deploy cannot remove apps or read tokens', async () => {
  const deployer = await bearer('deployer', 'deploy');
  const env = await api.get('/v1/apps/shop/env').set(deployer).expect(200);
  assert.deepEqual(env.body, { SECRET: 'correct horse' });
  await api.post('/v1/apps/shop/restart').set(deployer).expect(200);
  await api.delete('/v1/apps/shop?confirm=shop').set(deployer).expect(403);
  await api.get('/v1/tokens').set(deployer).expect(403);
});

test('a token for one app sees no other app and creates no tokens', async () => {
  const owner = await bearer('owner', 'admin', 'shop');
  const list = await api.get('/v1/apps').set(owner).expect(200);
  assert.deepEqual(
    list.body.map(({ name }: { name: string }) => name),
    ['shop'],
  );
  await api.get('/v1/apps/blog').set(owner).expect(403);
  await api.post('/v1/apps/other/releases').set(owner).send('x').expect(403);
  await api.post('/v1/tokens').set(owner).send({ name: 'more' }).expect(403);
});

test('a revoked token is refused at once', async () => {
  const visitor = await bearer('visitor', 'read');
  await api.get('/v1/apps').set(visitor).expect(200);
  await sluice.call('DELETE', '/v1/tokens/visitor');
  await api.get('/v1/apps').set(visitor).expect(401);
});

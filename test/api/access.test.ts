import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Environment } from '../../src/apps/environment.ts';
import type { AppStatus } from '../../src/apps/status.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { startApi } from '../support/api.ts';
import { wholeFile } from '../support/whole-file.ts';

const calls: string[] = [];
const statusOf = (name: string) => ({ name }) as AppStatus;
const { api, tokens, bearer } = await startApi(wholeFile, {
  list: async () => [statusOf('blog'), statusOf('shop')],
  status: async ({ app }) => statusOf(app),
  find: async () => ({ variables: async () => ({ SECRET: 'correct horse' }) }) as unknown as Environment,
  changeRunState: async (action, { app }, by) => {
    calls.push(`${action} ${app} by ${by}`);
    return statusOf(app);
  },
  deploy: async () => {
    throw new AppError('internal', 'not called');
  },
});

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
  const git = await api.get('/git/shop.git/info/refs?service=git-upload-pack').expect(401);
  assert.match(git.headers['www-authenticate'] ?? '', /^Basic /);
  assert.match(git.headers['content-type'] ?? '', /^text\/plain/);
});

test('a token with scope read sees apps, and names of variables without values', async () => {
  const reader = await bearer('reader', 'read');
  const status = await api.get('/v1/status').set(reader).expect(200);
  assert.equal(status.body.server.pid, process.pid);
  assert.deepEqual(
    status.body.apps.map(({ name }: { name: string }) => name),
    ['blog', 'shop'],
  );
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
  assert.deepEqual(calls, ['restart shop by deployer']);
  await api.delete('/v1/apps/shop?confirm=shop').set(deployer).expect(403);
  await api.get('/v1/tokens').set(deployer).expect(403);
});

test('a token for one app sees no other app and creates no tokens', async () => {
  const owner = await bearer('owner', 'admin', 'shop');
  const list = await api.get('/v1/apps').set(owner).expect(200);
  assert.deepEqual(list.body, [{ name: 'shop' }]);
  await api.get('/v1/apps/blog').set(owner).expect(403);
  await api.post('/v1/apps/other/releases').set(owner).send('x').expect(403);
  await api.post('/v1/tokens').set(owner).send({ name: 'more' }).expect(403);
});

test('a revoked token is refused at once', async () => {
  const visitor = await bearer('visitor', 'read');
  await api.get('/v1/apps').set(visitor).expect(200);
  await tokens.revoke('visitor');
  await api.get('/v1/apps').set(visitor).expect(401);
});

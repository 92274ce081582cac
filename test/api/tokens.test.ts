import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { TokenStore } from '../../src/api/auth/tokens.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a token is stored only as a hash, in a private file', async (t) => {
  const path = join(await temporaryDirectory(t), 'tokens.json');
  const { secret } = await new TokenStore(path).create('laptop', ['deploy'], 'shop');
  assert.match(secret, /^slc_[\w-]{43}$/);
  const stored = await readFile(path, 'utf8');
  assert.ok(!stored.includes(secret) && !stored.includes(secret.slice(4)));
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('a token works after a restart, until it is revoked', async (t) => {
  const path = join(await temporaryDirectory(t), 'tokens.json');
  const { secret } = await new TokenStore(path).create('laptop', ['deploy'], 'shop');
  const restarted = new TokenStore(path);
  const found = await restarted.find(secret);
  assert.deepEqual(found && { ...found, createdAt: '' }, {
    name: 'laptop',
    scopes: ['deploy'],
    app: 'shop',
    createdAt: '',
  });
  assert.equal(await restarted.find(`${secret}x`), undefined);
  await restarted.revoke('laptop');
  assert.equal(await restarted.find(secret), undefined);
  assert.equal(await new TokenStore(path).find(secret), undefined);
});

test('tokens that are created at the same time are all stored', async (t) => {
  const path = join(await temporaryDirectory(t), 'tokens.json');
  const store = new TokenStore(path);
  await Promise.all(['a', 'b', 'c', 'd'].map((name) => store.create(name, ['read'], null)));
  const names = (await new TokenStore(path).list()).map(({ name }) => name);
  assert.deepEqual(names.sort(), ['a', 'b', 'c', 'd']);
});

test('two tokens cannot have the same name, but a revoked token frees its name', async (t) => {
  const store = new TokenStore(join(await temporaryDirectory(t), 'tokens.json'));
  await store.create('ci', ['read'], null);
  await assert.rejects(store.create('ci', ['read'], null), /a token named "ci" already exists/);
  await assert.rejects(store.create('a b', ['read'], null), { code: 'bad_request' });
  await store.revoke('ci');
  await store.create('ci', ['read'], null);
  await assert.rejects(store.revoke('nobody'), { code: 'token_not_found' });
});

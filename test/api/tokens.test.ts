import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { TokenStore } from '../../src/api/auth/tokens.ts';
import { Paths } from '../../src/config/paths.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('a token is stored only as a hash, in a private file', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const { secret } = await new TokenStore(paths).create('laptop', ['deploy'], 'shop');
  assert.match(secret, /^slc_[\w-]{43}$/);
  const stored = await readFile(paths.tokens, 'utf8');
  assert.ok(!stored.includes(secret) && !stored.includes(secret.slice(4)));
  assert.equal((await stat(paths.tokens)).mode & 0o777, 0o600);
});

test('a token works after a restart, until it is revoked', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const { secret } = await new TokenStore(paths).create('laptop', ['deploy'], 'shop');
  const restarted = new TokenStore(paths);
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
  assert.equal(await new TokenStore(paths).find(secret), undefined);
});

test('tokens that are created at the same time are all stored', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const store = new TokenStore(paths);
  await Promise.all(['a', 'b', 'c', 'd'].map((name) => store.create(name, ['read'], null)));
  const names = (await new TokenStore(paths).list()).map(({ name }) => name);
  assert.deepEqual(names.sort(), ['a', 'b', 'c', 'd']);
});

test('two tokens cannot have the same name, but a revoked token frees its name', async (t) => {
  const store = new TokenStore(new Paths(await temporaryDirectory(t)));
  await store.create('ci', ['read'], null);
  await assert.rejects(store.create('ci', ['read'], null), /a token named "ci" already exists/);
  await assert.rejects(store.create('a b', ['read'], null), { code: 'bad_request' });
  await store.revoke('ci');
  await store.create('ci', ['read'], null);
  await assert.rejects(store.revoke('nobody'), { code: 'token_not_found' });
});

test('the version before can read tokens that may run commands, and gives none of them more rights', async (t) => {
  const paths = new Paths(await temporaryDirectory(t));
  const store = new TokenStore(paths);
  const ci = await store.create('ci', ['run'], 'shop');
  const both = await store.create('both', ['deploy', 'run'], null);
  assert.deepEqual(
    [ci.token.scopes, both.token.scopes],
    [
      ['read', 'run'],
      ['deploy', 'run'],
    ],
  );
  const stored = JSON.parse(await readFile(paths.tokens, 'utf8'));
  assert.deepEqual(
    stored.tokens.map(({ scopes }: { scopes: string[] }) => scopes),
    [['read'], ['deploy']],
  );
  assert.equal((await stat(paths.runTokens)).mode & 0o777, 0o600);
  const restarted = new TokenStore(paths);
  assert.deepEqual((await restarted.find(ci.secret))?.scopes, ['read', 'run']);
  assert.deepEqual(
    (await restarted.list()).map(({ scopes }) => scopes),
    [
      ['read', 'run'],
      ['deploy', 'run'],
    ],
  );
  // The version before has removed a token, and created another one with its name.
  stored.tokens[0].hash = 'a'.repeat(64);
  await writeFile(paths.tokens, JSON.stringify(stored));
  const later = new TokenStore(paths);
  assert.deepEqual((await later.list())[0]?.scopes, ['read']);
  await later.revoke('both');
  const named = async () => JSON.parse(await readFile(paths.runTokens, 'utf8')).tokens;
  assert.deepEqual(await named(), []);
  const again = await later.create('both', ['deploy'], null);
  assert.deepEqual((await later.find(again.secret))?.scopes, ['deploy']);
});

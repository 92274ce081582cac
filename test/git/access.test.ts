import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Scope } from '../../src/api/auth/tokens.ts';
import { answering } from '../support/apps.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { Sshd } from '../support/sshd.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const home = await temporaryDirectory(wholeFile);
const authorizedKeys = join(home, 'authorized_keys');
const sluice = await startSluice(wholeFile, { settings: { ssh: { authorizedKeys } } });
const sshd = await Sshd.start(wholeFile, authorizedKeys);

const token = async (name: string, scope: Scope, app: string | null = null) =>
  (await sluice.call<{ token: string }>('POST', '/v1/tokens', { name, scopes: [scope], app })).token;
const addKey = async (name: string, app: string | null = null) =>
  sluice.call('POST', '/v1/keys', { name, key: await sshd.makeKey(name), app });

await addKey('mine');

const owner = await Checkout.create(wholeFile);
const commit = await owner.commit('One', answering('one'));
await owner.git('push', sluice.gitUrl('shop'), 'main');

/** Checks that no app was changed or created. */
async function assertUntouched(): Promise<void> {
  assert.deepEqual(await remoteBranches(owner, sluice.gitUrl('shop')), { main: commit });
  assert.equal((await sluice.releases('shop')).length, 1);
  const apps = await waitFor(async () => {
    const names = (await readdir(sluice.paths.apps)).filter((name) => name !== 'package.json');
    return names.length === 1 && names;
  });
  assert.deepEqual(apps, ['shop']);
}

test('over http, a client without a valid token for the app gets nothing', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('Theirs', answering('theirs'));
  const none = await checkout.try('push', sluice.gitUrl('shop').replace(/git:.*@/, ''), 'main');
  assert.match(none.output, /could not read Username|terminal prompts disabled/);
  const revoked = await token('revoked', 'deploy');
  await sluice.call('DELETE', '/v1/tokens/revoked');
  const refusals = {
    slc_wrong: /Authentication failed/,
    [revoked]: /Authentication failed/,
    [await token('reader', 'read')]: /this call needs scope deploy; the token reader has read\n/,
    [await token('other', 'deploy', 'blog')]: /the token other is for the app blog only\n/,
  };
  for (const [secret, message] of Object.entries(refusals)) {
    for (const command of [
      ['push', sluice.gitUrl('shop', secret), 'main'],
      ['fetch', sluice.gitUrl('shop', secret)],
    ]) {
      const { code, output } = await checkout.try(...command);
      assert.notEqual(code, 0);
      assert.match(output, message);
    }
  }
  // A token for one app may create that app, and no other.
  const { code } = await checkout.try(
    'push',
    sluice.gitUrl('new', await token('single', 'deploy', 'blog')),
    'main',
  );
  assert.notEqual(code, 0);
  await assertUntouched();
  const refused = (await sluice.log()).filter(
    ({ path, status }) => String(path).startsWith('/git/') && status === 403,
  );
  assert.ok(refused.length >= 4, 'refusals are logged');
});

test('over http, invalid app names are refused in every spelling', async () => {
  const names = [
    '..',
    '../shop',
    '%2e%2e',
    '%2e%2e%2fshop',
    '..%2f..%2fetc',
    'shop%00',
    'Shop',
    'SHOP.GIT',
    'shop.git.git',
    '%',
    '%ff',
    '-c',
    '--upload-pack=x',
    'a'.repeat(300),
    `${'a/'.repeat(2000)}x`,
  ];
  for (const name of names) {
    for (const [method, path] of [
      ['GET', `/git/${name}/info/refs?service=git-receive-pack`],
      ['GET', `/git/${name}.git/info/refs?service=git-upload-pack`],
      ['POST', `/git/${name}.git/git-receive-pack`],
    ] as const) {
      const status = await rawStatus(method, path);
      assert.ok(
        [400, 403, 404, 405].includes(status),
        `${method} ${path.slice(0, 80)} was answered ${status}`,
      );
    }
  }
  await assertUntouched();
});

/** Sends a path unchanged: `fetch` would normalize it. */
function rawStatus(method: string, path: string): Promise<number> {
  const { hostname, port } = new URL(sluice.url);
  const headers = {
    authorization: `Bearer ${sluice.token}`,
    'content-type': 'application/x-git-receive-pack-request',
  };
  return new Promise((resolve, reject) => {
    const call = request({ hostname, port, method, path, headers, agent: false }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0));
    });
    call.on('error', reject).end();
  });
}

test('over http, a request that no git client sends is refused with the reason', async () => {
  const dumb = await sluice.request('/git/shop.git/info/refs');
  assert.equal(dumb.status, 400);
  assert.match(await dumb.text(), /only the smart HTTP protocol/);
  assert.equal((await sluice.request('/git/shop.git/HEAD')).status, 404);
  assert.equal(
    (await sluice.request('/git/shop.git/git-receive-pack', { method: 'POST', body: 'x' })).status,
    400,
  );
  const headers = { 'content-type': 'application/x-git-receive-pack-request', 'content-encoding': 'br' };
  const body = new Uint8Array([1, 2, 3]);
  assert.equal(
    (await sluice.request('/git/shop.git/git-receive-pack', { method: 'POST', headers, body })).status,
    400,
  );
  const garbage = { ...headers, 'content-encoding': 'gzip' };
  const sent = sluice.request('/git/shop.git/git-receive-pack', { method: 'POST', headers: garbage, body });
  // git waits for the rest of the request, so the connection ends without an answer.
  await assert.rejects(sent.then((answer) => answer.text()));
  await assertUntouched();
});

test('over ssh, a client without a valid key for the app gets nothing', async (t) => {
  await addKey('blogger', 'blog');
  await addKey('gone');
  await sluice.call('DELETE', '/v1/keys/gone');
  await sshd.makeKey('stranger');
  const push = async (key: string | undefined, path = 'shop') => {
    const checkout = await Checkout.create(t, { GIT_SSH_COMMAND: sshd.command(key) });
    await checkout.commit('Theirs', answering('theirs'));
    const [pushed, fetched] = [
      await checkout.try('push', sshd.url(path), 'main'),
      await checkout.try('fetch', sshd.url(path)),
    ];
    assert.notEqual(pushed.code, 0);
    assert.notEqual(fetched.code, 0);
    return pushed.output + fetched.output;
  };
  for (const key of [undefined, 'stranger', 'gone'])
    assert.match(await push(key), /Permission denied \(publickey\)/);
  assert.match(await push('blogger'), /^sluice: the key blogger is for the app blog only$/m);
  assert.match(await push('blogger', 'new'), /^sluice: the key blogger is for the app blog only$/m);
  await assertUntouched();
});

test('over ssh, a key opens no shell, no forwarding and no other command (thorough)', async () => {
  const friendly =
    /^sluice: this account accepts only pushes and fetches of git\n {2}git remote add deploy ssh:/;
  for (const command of [
    [],
    ['id'],
    ['git-upload-archive', "'shop'"],
    ['git-receive-pack', "'shop'; id"],
    ['git-receive-pack', "'shop' 'blog'"],
    ['git-receive-pack', '$(id)'],
    ['scp', '-t', '.'],
    ['x'.repeat(20_000)],
  ]) {
    const { code, stdout, stderr } = await sshd.run('mine', ...command);
    assert.equal(code, 1, `${command.join(' ').slice(0, 100)}: ${stderr}`);
    assert.equal(stdout, '');
    assert.doesNotMatch(stderr, /uid=/);
    if (command[0] !== 'git-receive-pack') assert.match(stderr, friendly);
  }
  const { code } = await sshd.run(
    'mine',
    '-N',
    '-o',
    'ExitOnForwardFailure=yes',
    '-R',
    '127.0.0.1:0:127.0.0.1:1',
  );
  assert.notEqual(code, 0);
  await assertUntouched();
  const refused = (await sluice.log()).filter(({ msg }) => msg === 'ssh refused');
  assert.ok(
    refused.some(({ key, command }) => key === 'mine' && command === 'id'),
    'refusals are logged',
  );
});

test('over ssh, invalid app names are refused in every spelling (thorough)', async () => {
  for (const name of [
    '..',
    '../shop',
    '../../etc',
    'Shop',
    '%2e%2e',
    'shop.git.git',
    '-c',
    'a'.repeat(300),
    '',
    '.git',
    'sh op',
    '~root/shop',
  ]) {
    for (const service of ['git-receive-pack', 'git-upload-pack']) {
      const { code, stderr, stdout } = await sshd.run('mine', `${service} '${name}'`);
      assert.equal(code, 1, name);
      assert.match(stderr, /^sluice: "?.* (?:cannot be the name of an app|accepts only pushes)/, name);
      assert.equal(stdout, '');
    }
  }
  await assertUntouched();
});

test('a push into the repository without Sluice is refused', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('Theirs', answering('theirs'));
  const { code, output } = await checkout.try('push', '--force', sluice.paths.repository('shop'), 'main');
  assert.equal(code, 1);
  assert.match(output, /^Sluice accepts pushes only over ssh or http, so that it can deploy them\.$/m);
  await assertUntouched();
});

test('a token and a key for one app may create that app (thorough)', async (t) => {
  await addKey('writer', 'blog');
  // The other tests check that only one app exists.
  t.after(() => sluice.call('DELETE', '/v1/apps/blog?confirm=blog'));
  const checkout = await Checkout.create(t, { GIT_SSH_COMMAND: sshd.command('writer') });
  await checkout.commit('One', answering('by token'));
  const blog = sluice.gitUrl('blog', await token('writer', 'deploy', 'blog'));
  assert.equal((await checkout.try('push', blog, 'main')).code, 0);
  assert.equal(await sluice.get('blog'), 'by token');
  await checkout.commit('Two', answering('by key'));
  assert.equal((await checkout.try('push', sshd.url('blog'), 'main')).code, 0);
  assert.equal(await sluice.get('blog'), 'by key');
});

test('the server refuses a removed key that sshd still accepts', async () => {
  const { stdout, stderr, code } = await asSshd('nobody', "git-receive-pack '/shop'");
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^sluice: this key was removed\n/);
  await assertUntouched();
});

/** Runs the command that sshd runs for a key. */
async function asSshd(key: string, command: string) {
  const relay = fileURLToPath(new URL('../../src/relay/ssh.cjs', import.meta.url));
  const child = spawn(process.execPath, [relay, sluice.paths.sshSocket, key], {
    env: { SSH_ORIGINAL_COMMAND: command },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { stdout, stderr, code: child.exitCode ?? (await once(child, 'exit'))[0] };
}

test('an app that does not exist cannot be fetched', async () => {
  const { output } = await owner.try('fetch', sluice.gitUrl('nothing'));
  assert.match(output, /app nothing not found/);
  const { stderr } = await sshd.run('mine', "git-upload-pack '/nothing'");
  assert.match(stderr, /^sluice: app nothing not found\n/);
  await assertUntouched();
});

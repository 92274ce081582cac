import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { AuthorizedKeys } from '../../src/api/auth/authorized-keys.ts';
import { type Key, KeyStore } from '../../src/api/auth/keys.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { fetchOnce } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const directory = await temporaryDirectory(wholeFile);
const file = join(directory, '.ssh/authorized_keys');
const sluice = await startSluice(wholeFile, { settings: { ssh: { authorizedKeys: file } } });

const add = (name: string, key: string, app: string | null = null) =>
  sluice.call<Key & { file: string }>('POST', '/v1/keys', { name, key, app });
const remove = (name: string) => sluice.call('DELETE', `/v1/keys/${name}`);
const lines = async () => (await readFile(file, 'utf8')).split('\n');

async function makeKey(name: string, type = 'ed25519'): Promise<{ public: string; private: string }> {
  const path = join(directory, name);
  await promisify(execFile)('ssh-keygen', [
    '-q',
    '-t',
    type,
    '-N',
    '',
    '-C',
    `${name} of "Ann" $(id)`,
    '-f',
    path,
  ]);
  return { public: await readFile(`${path}.pub`, 'utf8'), private: await readFile(path, 'utf8') };
}

test('a key stands in the file of sshd with nothing allowed but our command, until it is removed', async () => {
  const { public: key } = await makeKey('laptop');
  const added = await add('laptop', key, 'shop');
  assert.equal(added.file, file);
  const { stdout } = await promisify(execFile)('ssh-keygen', ['-l', '-f', join(directory, 'laptop.pub')]);
  assert.ok(stdout.includes(added.fingerprint));
  const [, line = ''] = await lines();
  assert.match(
    line,
    /^restrict,command="\/\S+\/node \/\S+\/ssh\.cjs \/\S+\/ssh\.sock laptop" ssh-ed25519 \S+ laptop for shop$/,
  );
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await stat(join(directory, '.ssh'))).mode & 0o777, 0o700);
  const list = await sluice.call<Key[]>('GET', '/v1/keys');
  assert.deepEqual(
    list.map(({ name, app }) => ({ name, app })),
    [{ name: 'laptop', app: 'shop' }],
  );
  await remove('laptop');
  assert.equal(await readFile(file, 'utf8'), '');
  await assert.rejects(remove('laptop'), { code: 'key_not_found' });
});

test('lines of others in the file do not change', async () => {
  const { public: own } = await makeKey('own');
  const before = `# mine\n${own}from="10.0.0.1" ssh-rsa AAAA somebody`;
  await writeFile(file, before);
  await add('one', (await makeKey('one', 'ecdsa')).public);
  await writeFile(file, `${await readFile(file, 'utf8')}ssh-rsa BBBB later\n`);
  await add('two', (await makeKey('two')).public);
  const all = await lines();
  assert.deepEqual(all.slice(0, 3), before.split('\n'));
  assert.equal(all.filter((line) => line.startsWith('restrict,')).length, 2);
  assert.deepEqual(all.slice(-2), ['ssh-rsa BBBB later', '']);
  // Without our last line, no line of others is lost.
  await writeFile(file, all.filter((line) => !/^# Sluice in .+ writes to here$/.test(line)).join('\n'));
  await remove('one');
  await remove('two');
  assert.equal(await readFile(file, 'utf8'), `${before}\nssh-rsa BBBB later\n`);
});

test('two Sluices of one user share the file, and neither changes the lines of the other or of its owner', async (t) => {
  const home = await temporaryDirectory(t);
  const file = join(home, 'shared');
  const store = (name: string) => {
    const authorized = new AuthorizedKeys({ path: file, user: 'me' }, join(home, name), [
      '/node',
      '/ssh.cjs',
      join(home, name, 'ssh.sock'),
    ]);
    return new KeyStore(join(home, `${name}.json`), authorized);
  };
  await store('one').add('first', (await makeKey('first')).public, null);
  await store('two').add('second', (await makeKey('second')).public, null);
  // A line of the owner that looks much like ours and is not UTF-8, between our lines.
  const [begin, ...rest] = (await readFile(file, 'latin1')).split('\n');
  const own = Buffer.from('restrict,command="/usr/bin/backup" ssh-rsa AAAA b\xfccher', 'latin1').toString(
    'latin1',
  );
  await writeFile(file, Buffer.from([begin, own, ...rest].join('\n'), 'latin1'));
  const has = async (text: string) => (await readFile(file, 'latin1')).includes(text);
  await store('one').remove('first');
  assert.deepEqual(
    [await has(' first\n'), await has(' second\n'), await has(`${own}\n`)],
    [false, true, true],
  );
  await store('two').remove('second');
  assert.equal(await readFile(file, 'latin1'), `${own}\n`);
});

test('the shell of sshd can read paths with quotes, spaces and umlauts, and we find our lines again', async () => {
  const path = join(directory, 'quoted');
  const socket = `/home/o'hara "the" größe/ssh.sock`;
  const keys = new AuthorizedKeys({ path, user: 'me' }, `/home/o'hara "the" größe`, ['/bin/echo', socket]);
  const key = { name: 'k', app: null, key: 'ssh-ed25519 AAAA', fingerprint: '', createdAt: '' };
  await keys.write([key]);
  const once = await readFile(path, 'utf8');
  const command = /^restrict,command="(.+)" ssh-ed25519/m.exec(once)?.[1]?.replaceAll('\\"', '"');
  const { stdout } = await promisify(execFile)('sh', ['-c', command ?? '']);
  assert.equal(stdout, `${socket} k\n`);
  await keys.write([key]);
  assert.equal(await readFile(path, 'utf8'), once);
  await keys.write([]);
  assert.equal(await readFile(path, 'utf8'), '');
});

test('lines of another Sluice stay although the path of its socket ends like ours', async (t) => {
  const path = join(await temporaryDirectory(t), 'authorized_keys');
  const at = (home: string) => new AuthorizedKeys({ path, user: 'me' }, home, ['/relay', `${home}/ssh.sock`]);
  const key = { name: 'k', app: null, key: 'ssh-ed25519 AAAA', fingerprint: '', createdAt: '' };
  await at('/mnt/srv/sluice').write([key]);
  const other = await readFile(path, 'utf8');
  await at('/srv/sluice').write([{ ...key, key: 'ssh-ed25519 BBBB' }]);
  await at('/srv/sluice').write([]);
  assert.equal(await readFile(path, 'utf8'), other);
});

test('a key that logs in cannot push, since sshd takes the first of two lines', async () => {
  const { public: own } = await makeKey('login');
  await writeFile(file, `no-pty ${own}`);
  await assert.rejects(add('login', own), {
    code: 'invalid_key',
    message: /already has this key for another purpose$/,
  });
  assert.deepEqual(await sluice.call('GET', '/v1/keys'), []);
  assert.equal(await readFile(file, 'utf8'), `no-pty ${own}`);
});

test('an invalid or duplicate key is refused with the reason', async () => {
  const pair = await makeKey('pair');
  await assert.rejects(add('p', pair.private), {
    code: 'invalid_key',
    message: /private key, which must not leave/,
  });
  await assert.rejects(add('p', 'hello'), { code: 'invalid_key', message: /not a public key of ssh/ });
  await assert.rejects(add('p', ''), { code: 'invalid_key', message: /has 0 keys/ });
  await assert.rejects(add('p', `${pair.public}${pair.public}`), {
    code: 'invalid_key',
    message: /has 2 keys/,
  });
  await assert.rejects(add('p', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA'), {
    message: /ssh-keygen does not accept this/,
  });
  await assert.rejects(add('p', `command="id" ${pair.public}`), { message: /not a public key of ssh/ });
  await assert.rejects(add('../p', pair.public), { code: 'bad_request', message: /invalid key name/ });
  await assert.rejects(add('p"\n', pair.public), { code: 'bad_request' });
  await add('p', pair.public);
  await assert.rejects(add('p', (await makeKey('other')).public), { message: /a key named "p" already/ });
  await assert.rejects(add('q', pair.public), { message: /the server already has this key, as "p"/ });
  await remove('p');
});

test('a link to the file stays a link; a lost file is written again at the next start', async (t) => {
  const home = await temporaryDirectory(t);
  const real = join(home, 'elsewhere');
  const linked = join(home, 'linked');
  await writeFile(real, '');
  await symlink(real, linked);
  await storeAt(home, linked).add('moved', (await makeKey('moved')).public, null);
  assert.match(await readFile(real, 'utf8'), / moved\n/);
  await writeFile(real, '');
  await storeAt(home, linked).synchronize();
  assert.match(await readFile(real, 'utf8'), / moved\n/);
});

test('a file that cannot be written is reported, and the key is not added', async (t) => {
  const home = await temporaryDirectory(t);
  // A path below a file does not exist, for root either.
  await writeFile(join(home, 'in-the-way'), '');
  const store = storeAt(home, join(home, 'in-the-way/keys'));
  await assert.rejects(store.add('refused', (await makeKey('refused')).public, null), {
    code: 'invalid_settings',
    message: /^the file of sshd's keys, .+, cannot be read and written: ENOTDIR$/,
  });
  assert.deepEqual(await store.list(), []);
});

function storeAt(home: string, path: string): KeyStore {
  return new KeyStore(
    join(home, 'keys.json'),
    new AuthorizedKeys({ path, user: 'me' }, home, ['ssh.cjs', 'socket']),
  );
}

test("an added key stays in sshd's file, however often the file is written meanwhile", async (t) => {
  const home = await temporaryDirectory(t);
  const path = join(home, 'authorized_keys');
  const store = storeAt(home, path);
  const writes: Promise<void>[] = [];
  let added = false;
  const adding = store.add('busy', (await makeKey('busy')).public, null).finally(() => {
    added = true;
  });
  while (!added) {
    writes.push(store.synchronize());
    await setImmediate();
  }
  await Promise.all([adding, ...writes]);
  assert.match(await readFile(path, 'utf8'), / busy\n/);
});

test('without a key no file is created', async (t) => {
  const home = await temporaryDirectory(t);
  const path = join(home, 'none/authorized_keys');
  await storeAt(home, path).synchronize();
  await assert.rejects(stat(path), { code: 'ENOENT' });
});

test('only admin tokens for all apps may manage keys', async () => {
  const { token } = await sluice.call<{ token: string }>('POST', '/v1/tokens', {
    name: 'deployer',
    scopes: ['deploy'],
  });
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await fetchOnce(`${sluice.url}/v1/keys`, { headers })).status, 403);
  assert.equal((await fetchOnce(`${sluice.url}/v1/keys/x`, { headers, method: 'DELETE' })).status, 403);
  const body = JSON.stringify({ name: 'x', key: 'ssh-ed25519 AAAA' });
  assert.equal((await fetchOnce(`${sluice.url}/v1/keys`, { headers, method: 'POST', body })).status, 403);
  const admin = { name: 'shopkeeper', scopes: ['admin'], app: 'shop' };
  const bound = await sluice.call<{ token: string }>('POST', '/v1/tokens', admin);
  const its = { authorization: `Bearer ${bound.token}` };
  assert.equal(
    (await fetchOnce(`${sluice.url}/v1/keys`, { headers: its, method: 'POST', body })).status,
    403,
  );
});

test('tokens and keys of an app alone are removed with the app, and give no access to a new app of that name', async () => {
  await sluice.deploy('brief', answering('one'));
  const { token } = await sluice.call<{ token: string }>('POST', '/v1/tokens', {
    ...{ name: 'for-brief', scopes: ['deploy'], app: 'brief' },
  });
  await sluice.call('POST', '/v1/tokens', { name: 'for-all', scopes: ['deploy'] });
  await add('brief-laptop', (await makeKey('brief-laptop')).public, 'brief');
  const headers = { authorization: `Bearer ${token}` };
  const status = async () => (await fetchOnce(`${sluice.url}/v1/apps/brief`, { headers })).status;
  assert.equal(await status(), 200);
  const { stdout, code } = await cli(['destroy', 'brief', '--confirm', 'brief'], {
    env: { SLUICE_HOME: sluice.home },
  });
  assert.equal(code, 0);
  assert.match(stdout, /^brief .*\n.*tokens.*: for-brief\n.*keys.*: brief-laptop\n$/);
  await sluice.deploy('brief', answering('of somebody else'));
  assert.equal(await status(), 401);
  assert.ok(!(await readFile(file, 'utf8')).includes('brief-laptop'));
  const names = (await sluice.call<{ name: string }[]>('GET', '/v1/tokens')).map(({ name }) => name);
  assert.ok(names.includes('for-all'));
});

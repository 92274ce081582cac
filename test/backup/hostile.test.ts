import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { lstat, open, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { answering } from '../support/apps.ts';
import { type Entry, endOfArchive, tarball, tarEntry } from '../support/archive.ts';
import { cli } from '../support/cli.ts';
import { secondHome } from '../support/second-home.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const head = {
  format: 1,
  sluice: '0.1.0',
  createdAt: '2026-01-01T00:00:00.000Z',
  isolated: false,
  shared: true,
  environments: [{ app: 'shop', environment: 'production', live: null, trees: [] }],
};
const state = { port: 9001, desired: 'running', workers: null, createdAt: '2026-01-01T00:00:00.000Z' };
const below = 'apps/shop/production';

/** Forges a backup with valid checksums. */
function forged(entries: Entry[], first: unknown = head, after: Entry[] = []): Buffer {
  const sums = new Map<string, { entries: number; bytes: number; hash: ReturnType<typeof createHash> }>();
  const all = [{ path: `${below}/app.json`, content: JSON.stringify(state) }, ...entries];
  for (const { path, type = 'File', content = '', mode = 0o644, linkpath = '' } of all) {
    const part = /^apps\/([a-z]+)\/production\//.exec(path)?.[1] ?? 'state';
    const sum = sums.get(part) ?? { entries: 0, bytes: 0, hash: createHash('sha256') };
    sums.set(part, sum);
    const kind = { File: 'file', Directory: 'directory', SymbolicLink: 'link' }[type as 'File'];
    const name = type === 'Directory' ? path.replace(/\/$/, '') : path;
    const size = Buffer.byteLength(content);
    sum.hash.update(JSON.stringify([name, kind, mode, size, linkpath, '', '']));
    sum.hash.update(content);
    sum.entries += 1;
    sum.bytes += size;
  }
  const parts = [...sums].map(([name, { hash, ...sum }]) => ({ name, ...sum, sha256: hash.digest('hex') }));
  return gzipSync(
    tarball([
      { path: 'sluice-backup.json', content: JSON.stringify(first) },
      ...all,
      { path: 'manifest.json', content: JSON.stringify({ parts }) },
      ...after,
    ]),
  );
}

/** Checks that a restore fails, and changes nothing. */
async function refused(t: TestContext, archive: Buffer, why: RegExp, code?: string): Promise<void> {
  const directory = await temporaryDirectory(t);
  const home = join(directory, 'home');
  const file = join(directory, 'backup.tar.gz');
  await writeFile(file, archive);
  const { stdout, code: status } = await cli(['restore', file, '--json'], { env: { SLUICE_HOME: home } });
  assert.equal(status, 1, stdout);
  const { error } = JSON.parse(stdout);
  assert.match(error.message, why);
  if (code !== undefined) assert.equal(error.code, code);
  assert.deepEqual(
    (await readdir(home)).filter((name) => name !== 'run'),
    [],
  );
  assert.deepEqual((await readdir(directory)).sort(), ['backup.tar.gz', 'home']);
}

test('a harmless forged backup with valid checksums is restored', async (t) => {
  const home = await temporaryDirectory(t);
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  const link: Entry = { path: `${below}/shared/link`, type: 'SymbolicLink', linkpath: '/etc/passwd' };
  await writeFile(file, forged([{ path: `${below}/shared/`, type: 'Directory', mode: 0o700 }, link]));
  const { code, stderr } = await cli(['restore', file], { env: { SLUICE_HOME: home } });
  assert.equal(stderr, '');
  assert.equal(code, 0);
});

const unsafe: Record<string, [Entry[], RegExp]> = {
  'an absolute path': [
    [{ path: '/etc/cron.d/x', content: 'x' }],
    /"\/?etc\/cron\.d\/x" is not a path of a backup/,
  ],
  'a path that leads out': [
    [{ path: `${below}/shared/../../../../x`, content: 'x' }],
    /is not a path of a backup/,
  ],
  'a path beside what Sluice keeps': [
    [{ path: 'run/server.sock', content: 'x' }],
    /is not a path of a backup/,
  ],
  'a repository as files, with settings for git': [
    [{ path: 'apps/shop/repo.git/config', content: 'x' }],
    /is not a path of a backup/,
  ],
  'a name that no app can have': [
    [{ path: 'apps/.ssh/production/app.json', content: 'x' }],
    /is not a path of a backup/,
  ],
  'a link in the place of a secret': [
    [{ path: `${below}/env.json`, type: 'SymbolicLink', linkpath: '/etc/shadow' }],
    /is a link/,
  ],
  'a file through a link': [
    [
      { path: `${below}/shared/`, type: 'Directory' },
      { path: `${below}/shared/out`, type: 'SymbolicLink', linkpath: '/tmp' },
      { path: `${below}/shared/out/x`, content: 'x' },
    ],
    /has entries, but is not a directory/,
  ],
  'a hard link': [
    [{ path: `${below}/shared/x`, type: 'Link', linkpath: '/etc/shadow' }],
    /is a hard link to something else than a file of its app/,
  ],
  'a hard link in the place of a secret': [
    [
      { path: `${below}/shared/x`, content: 'x' },
      { path: `${below}/env.json`, type: 'Link', linkpath: `${below}/shared/x` },
    ],
    /is a hard link to something else than a file of its app/,
  ],
  'a device': [[{ path: `${below}/shared/x`, type: 'CharacterDevice' }], /is of the type CharacterDevice/],
  'the same path twice': [
    [
      { path: `${below}/env.json`, content: '{}' },
      { path: `${below}/env.json`, content: '{}' },
    ],
    /the backup has .* twice/,
  ],
  'an app that the head does not list': [
    [{ path: 'apps/other/production/app.json', content: JSON.stringify(state) }],
    /the backup has an app that its head does not list: other/,
  ],
};

for (const [what, [entries, why]] of Object.entries(unsafe)) {
  test(`a backup with ${what} is refused, and nothing has changed`, async (t) => {
    await refused(t, forged(entries), why, 'archive_unsafe');
  });
}

test('other files and backups of a later format are refused, with the reason', async (t) => {
  await refused(t, Buffer.from('no archive at all'), /is damaged|not a backup/, 'archive_unreadable');
  await refused(t, gzipSync(randomBytes(5000)), /not a backup/, 'archive_unreadable');
  const upload = gzipSync(tarball([{ path: 'server.js', content: 'x' }]));
  await refused(t, upload, /not a backup of Sluice: it begins with another file/, 'archive_unreadable');
  await refused(
    t,
    forged([], { ...head, format: 3 }),
    /has format 3 \(known: up to 2\)/,
    'archive_unreadable',
  );
  const outside = { ...head, environments: [{ ...head.environments[0], app: '../../etc' }] };
  await refused(t, forged([], outside), /not a backup/, 'archive_unreadable');
  await refused(
    t,
    forged([], head, [{ path: 'more', content: '' }]),
    /an entry follows the end/,
    'archive_unsafe',
  );
});

test('a backup that is incomplete or was changed is refused (thorough)', async (t) => {
  const from = await startSluice(t);
  await from.deploy('shop', answering('here'));
  const file = join(await temporaryDirectory(t), 'backup.tar.gz');
  assert.equal((await cli(['backup', file], { env: { SLUICE_HOME: from.home } })).code, 0);
  const whole = await readFile(file);
  for (const part of [0, 0.1, 0.6, 0.99]) {
    const cut = whole.subarray(0, Math.floor(whole.length * part));
    await refused(t, cut, /the backup is incomplete/, 'archive_truncated');
  }
  const plain = gunzipSync(whole);
  const noManifest = plain.subarray(0, plain.lastIndexOf('manifest.json'));
  await refused(
    t,
    gzipSync(Buffer.concat([noManifest, endOfArchive])),
    /the backup is incomplete/,
    'archive_truncated',
  );
  const changed = Buffer.from(plain);
  const at = changed.indexOf('response.end("here")');
  changed.write('response.end("hack")', at);
  await refused(
    t,
    gzipSync(changed),
    /is damaged: the checksum of shop does not match/,
    'archive_unreadable',
  );
  const flipped = Buffer.from(whole);
  flipped.writeUInt8(flipped.readUInt8(flipped.length >> 1) ^ 0x55, flipped.length >> 1);
  await refused(t, flipped, /damaged|incomplete/);
  const sound = await secondHome(t, from);
  assert.equal((await cli(['restore', file], { env: { SLUICE_HOME: sound.home } })).code, 0);
});

test('a header with a larger size than its content is refused', async (t) => {
  const entry = tarEntry({ path: `${below}/app.json`, content: 'x', size: 2 ** 40 });
  const start = tarEntry({ path: 'sluice-backup.json', content: JSON.stringify(head) });
  await refused(
    t,
    gzipSync(Buffer.concat([start, entry, endOfArchive])),
    /the backup is incomplete/,
    'archive_truncated',
  );
});

test('a backup in format 2 of an earlier version is restored: holes, hard links, long and strange names, times', async (t) => {
  const home = join(await temporaryDirectory(t), 'home');
  const file = join(import.meta.dirname, 'format-2.tar.gz');
  const { code, stderr } = await cli(['restore', file], { env: { SLUICE_HOME: home } });
  assert.equal(code, 0, stderr);
  const shared = join(home, below, 'shared');
  const sparse = await stat(join(shared, 'sparse'));
  assert.deepEqual([sparse.size, sparse.nlink, sparse.ino], [4e9, 2, (await stat(join(shared, 'twin'))).ino]);
  for (const [name, size, text, offset] of [
    ['sparse', 4e9, 'middle', 2e9],
    [`sparse-${'ü'.repeat(80)}`, 1e9, 'end', 1e9 - 3],
    ['hole', 1e9, '\0', 0],
  ] as const) {
    await using handle = await open(join(shared, name));
    const stats = await handle.stat();
    assert.equal(stats.size, size);
    if (process.platform === 'linux') assert.ok(512 * stats.blocks < 1e6, name);
    const { buffer } = await handle.read(Buffer.alloc(text.length), 0, text.length, offset);
    assert.equal(buffer.toString(), text);
  }
  const long = join(shared, 'line\nend', 'ö'.repeat(100), 'x'.repeat(200));
  assert.equal(await readFile(long, 'utf8'), 'long');
  assert.equal(await readlink(join(shared, 'link')), '/mnt/elsewhere');
  const plain = await lstat(join(shared, 'plain'));
  assert.deepEqual([plain.mode & 0o777, plain.mtimeMs], [0o640, 1e12]);
});

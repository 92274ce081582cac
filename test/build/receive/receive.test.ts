import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdir, open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { create } from 'tar';
import { tarball } from '../../support/archive.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { readTree } from '../../support/tree.ts';
import { receive, staging } from './support.ts';

const run = promisify(execFile);

const app = tarball([
  { path: 'package.json', content: '{}' },
  { path: 'bin/', type: 'Directory', mode: 0o755 },
  { path: 'bin/start', content: '#!/bin/sh\n', mode: 0o755 },
  { path: 'lib/deep/größe.js', content: 'x'.repeat(100_000) },
  { path: 'lib/empty.js' },
  { path: 'lib/same.js', type: 'Link', linkpath: 'bin/start' },
  { path: 'lib/up', type: 'SymbolicLink', linkpath: '../bin/start' },
]);

const appTree = {
  '.sluice': null,
  '.sluice/release.json': '{}',
  bin: null,
  'bin/start': '#!/bin/sh\n',
  lib: null,
  'lib/deep': null,
  'lib/deep/größe.js': 'x'.repeat(100_000),
  'lib/empty.js': '',
  'lib/same.js': '#!/bin/sh\n',
  'lib/up': '-> ../bin/start',
  'package.json': '{}',
};

for (const [name, body] of [
  ['a plain tar', app],
  ['a tar with gzip', gzipSync(app)],
  [
    'a tar with gzip in two members',
    Buffer.concat([gzipSync(app.subarray(0, 9000)), gzipSync(app.subarray(9000))]),
  ],
  ['a tar with zstd', zstdCompressSync(app)],
  ['a tar with padding after its end', Buffer.concat([app, Buffer.alloc(50_000)])],
] as const) {
  test(`${name} is unpacked`, async (t) => {
    const { directory } = await staging(t);
    const received = await receive(body, directory);
    assert.deepEqual(await readTree(directory), appTree);
    assert.deepEqual(received, {
      root: '',
      member: '',
      lfsPointers: [],
      macFiles: null,
      uploadBytes: body.length,
      extractedBytes: 100_012,
      entries: 9,
    });
  });
}

test('executable files stay executable; setuid and write permission for others are dropped', async (t) => {
  const { directory } = await staging(t);
  await receive(
    tarball([
      { path: 'run', mode: 0o6777 },
      { path: 'data', mode: 0o666 },
      { path: 'sticky/', type: 'Directory', mode: 0o7777 },
    ]),
    directory,
  );
  const mode = async (name: string) => (await stat(join(directory, name))).mode & 0o7777;
  const umask = process.umask();
  assert.equal(await mode('run'), 0o755 & ~umask);
  assert.equal(await mode('data'), 0o644 & ~umask);
  assert.equal(await mode('sticky'), 0o777 & ~umask);
});

test('an archive of `npm pack` is unpacked without its package folder', async (t) => {
  const source = await temporaryDirectory(t);
  await writeFile(join(source, 'package.json'), '{"name":"demo","version":"1.0.0"}');
  await writeFile(join(source, 'server.js'), '// serves');
  await run('npm', ['pack', '--silent'], { cwd: source });
  const { directory } = await staging(t);
  await receive(createReadStream(join(source, 'demo-1.0.0.tgz')), directory);
  const tree = await readTree(directory);
  assert.equal(tree['server.js'], '// serves');
  assert.equal(tree['package'], undefined);
});

test('archives of `git archive` and GNU tar with long names are unpacked without their leading folder', async (t) => {
  const source = await temporaryDirectory(t);
  const long = `${'ä'.repeat(120)}/${'b'.repeat(200)}.js`;
  await mkdir(join(source, 'shop-1f2e', long, '..'), { recursive: true });
  await writeFile(join(source, 'shop-1f2e', long), 'long');
  await writeFile(join(source, 'shop-1f2e/package.json'), '{}');
  const git = ['-C', join(source, 'shop-1f2e'), '-c', 'user.name=t', '-c', 'user.email=t@t'];
  await run('git', [...git, 'init', '-q']);
  await run('git', [...git, 'add', '.']);
  await run('git', [...git, 'commit', '-qm', 'first']);
  await run('git', [...git, 'archive', '--prefix=shop/', '-o', join(source, 'git.tar.gz'), 'HEAD']);
  const archives = [join(source, 'git.tar.gz')];
  for (const format of ['gnu', 'pax']) {
    const archive = join(source, `${format}.tar`);
    await run('tar', ['-C', source, `--format=${format}`, '--exclude=.git', '-cf', archive, './shop-1f2e']);
    archives.push(archive);
  }
  for (const archive of archives) {
    const { directory } = await staging(t);
    await receive(createReadStream(archive), directory);
    const tree = await readTree(directory);
    assert.equal(tree[long], 'long', archive);
    assert.equal(tree['package.json'], '{}', archive);
  }
});

test('an archive of `sluice deploy` is unpacked', async (t) => {
  const source = await temporaryDirectory(t);
  await writeFile(join(source, 'package.json'), '{}');
  await writeFile(join(source, 'server.js'), 'y'.repeat(300_000));
  const { directory } = await staging(t);
  await create({ cwd: source, gzip: true, file: join(source, '../packed.tgz') }, ['.']);
  t.after(() => run('rm', [join(source, '../packed.tgz')]));
  await receive(createReadStream(join(source, '../packed.tgz')), directory);
  assert.equal((await readTree(directory))['server.js'], 'y'.repeat(300_000));
});

test('a folder next to other entries is not removed', async (t) => {
  for (const beside of [
    { path: 'package.json', content: '{}' },
    { path: 'other/', type: 'Directory' } as const,
    { path: 'link', type: 'SymbolicLink', linkpath: 'app' } as const,
  ]) {
    const { directory } = await staging(t);
    await receive(tarball([{ path: 'app/server.js', content: 's' }, beside]), directory);
    assert.equal((await readTree(directory))['app/server.js'], 's');
  }
});

test('a leading folder is removed despite the attribute files of macOS', async (t) => {
  const { directory } = await staging(t);
  await receive(tarball([{ path: './._app' }, { path: 'app/server.js', content: 's' }]), directory);
  assert.deepEqual(Object.keys(await readTree(directory)), ['.sluice', '.sluice/release.json', 'server.js']);
});

/** A file in which macOS keeps the attributes of another file, as tar on macOS writes it. */
const attributes = Buffer.concat([
  Buffer.from('0005160700020000', 'hex'),
  Buffer.from('Mac OS X        '),
  Buffer.alloc(100),
]);

test('files that only macOS uses are left out, and counted', async (t) => {
  const { directory } = await staging(t);
  const entries = [
    { path: './._package.json', content: attributes },
    { path: './package.json', content: '{}' },
    { path: './routes/._users.js', content: attributes },
    { path: './routes/users.js', content: 'u' },
    { path: './routes/.DS_Store', content: 'x' },
    { path: './__MACOSX/', type: 'Directory' } as const,
    { path: './__MACOSX/routes/._users.js', content: attributes },
    { path: './._own.js', content: 'a file of the app' },
    { path: './._empty' },
  ];
  const received = await receive(tarball(entries), directory);
  assert.deepEqual(received.macFiles, { count: 5, first: '._package.json' });
  const { '.sluice': _, '.sluice/release.json': __, ...files } = await readTree(directory);
  assert.deepEqual(files, {
    '._empty': '',
    '._own.js': 'a file of the app',
    'package.json': '{}',
    routes: null,
    'routes/users.js': 'u',
  });
});

test('sparse files of GNU tar are rejected by name, in each of its formats', async (t) => {
  const source = await temporaryDirectory(t);
  const file = await open(join(source, 'holes.db'), 'w');
  await file.truncate(4 * 1024 * 1024);
  await file.write('data', 2 * 1024 * 1024);
  await file.close();
  for (const format of [
    'gnu',
    'pax --sparse-version=0.0',
    'pax --sparse-version=0.1',
    'pax --sparse-version=1.0',
  ]) {
    const { directory } = await staging(t);
    const args = ['-cf', '-', '--sparse', ...`--format=${format}`.split(' '), '-C', source, './holes.db'];
    const { stdout } = await run('tar', args, { encoding: 'buffer' });
    await assert.rejects(receive(stdout, directory), {
      code: 'archive_unreadable',
      message: /^"(?:\.\/)?holes\.db" is a sparse file$/,
      hint: /without --sparse/,
    });
  }
});

test('the later of two entries with the same path wins', async (t) => {
  const { directory } = await staging(t);
  await receive(
    tarball([
      { path: 'a', content: 'old' },
      { path: 'b', type: 'Link', linkpath: 'a' },
      { path: 'a', content: 'new' },
      { path: 'c', type: 'SymbolicLink', linkpath: 'a' },
      { path: 'c', type: 'SymbolicLink', linkpath: 'b' },
    ]),
    directory,
  );
  const { a, b, c } = await readTree(directory);
  assert.deepEqual({ a, b, c }, { a: 'new', b: 'old', c: '-> b' });
});

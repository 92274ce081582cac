import assert from 'node:assert/strict';
import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { writeTree } from '../support/builds.ts';
import { Checkout } from '../support/git.ts';
import { fetchOnce } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

const current = (app: string) =>
  join(sluice.paths.environment({ app, environment: 'production' }).current, '.');

test('a release has the modes, links and names of its commit, without files of export-ignore', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.write({
    ...answering('odd'),
    'bin/run it': '#!/bin/sh\n',
    'größe/名前 – ü.txt': 'content',
    [`long/${'x'.repeat(120)}/${'y'.repeat(120)}.txt`]: 'deep',
    'docs/secret.md': 'not for the server',
    'docs/kept.md': 'for the server',
    '.gitattributes': 'docs/secret.md export-ignore\ntest export-ignore\n',
    'test/a.js': '',
    'line\nbreak "quoted".txt': 'odd',
  });
  await checkout.executable('bin/run it');
  await checkout.link('link', 'bin/run it');
  await checkout.commit('Größe, 名前 and "quotes"; $(rm -rf /)');
  const { code, output } = await checkout.try('push', sluice.gitUrl('odd'), 'main');
  assert.equal(code, 0, output);
  const tree = current('odd');
  assert.equal((await lstat(join(tree, 'bin/run it'))).mode & 0o777, 0o755);
  assert.equal(await readlink(join(tree, 'link')), 'bin/run it');
  assert.equal(await readFile(join(tree, 'größe/名前 – ü.txt'), 'utf8'), 'content');
  assert.equal(await readFile(join(tree, `long/${'x'.repeat(120)}/${'y'.repeat(120)}.txt`), 'utf8'), 'deep');
  assert.equal(await readFile(join(tree, 'line\nbreak "quoted".txt'), 'utf8'), 'odd');
  assert.deepEqual(await readdir(join(tree, 'docs')), ['kept.md']);
  assert.ok(!(await readdir(tree)).includes('test'));
  assert.equal((await sluice.releases('odd'))[0]?.message, 'Größe, 名前 and "quotes"; $(rm -rf /)');
});

test('control characters of a message are removed, and oversized settings are refused (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('\u001b[31mRed\u0007 alert\n\nBody\u001b]0;title\u0007 of it', answering('one'));
  const { output } = await checkout.try('push', sluice.gitUrl('escapes'), 'main');
  assert.match(output, /: \[31mRed alert\n/);
  assert.equal((await sluice.releases('escapes'))[0]?.message, '[31mRed alert\n\nBody]0;title of it');
  await checkout.commit('Large', { 'sluice.json': `{"start": "${'x'.repeat(5 * 1024 ** 2)}"}` });
  const large = await checkout.try('push', sluice.gitUrl('escapes'), 'main');
  assert.match(large.output, /^refused: sluice\.json is 5\.0 MiB, more than the limit of 4\.0 MiB$/m);
  await checkout.commit('Broken', { 'sluice.json': '{"branches": ' });
  const broken = await checkout.try('push', sluice.gitUrl('escapes'), 'main');
  assert.match(broken.output, /^refused: sluice\.json is not valid JSON: /m);
});

test('a malformed tree is refused and has no effect (thorough)', async (t) => {
  for (const name of ['.git', '..', '.']) {
    const checkout = await Checkout.create(t);
    await checkout.commit('One', answering('one'));
    const blob = await checkout.git('rev-parse', 'HEAD:server.js');
    // By hand, since every command that adds something checks its name.
    const entry = Buffer.concat([Buffer.from(`100644 ${name}\0`), Buffer.from(blob, 'hex')]);
    await checkout.write({ entry });
    const tree = await checkout.git('hash-object', '-t', 'tree', '-w', '--literally', 'entry');
    const commit = await checkout.git('commit-tree', '-m', 'Hostile', tree);
    const { code, output } = await checkout.try(
      'push',
      sluice.gitUrl('hostile'),
      `${commit}:refs/heads/main`,
    );
    assert.equal(code, 1);
    assert.match(output, /^failed at receive: git could not read commit/m);
    assert.equal((await fetchOnce(`${sluice.url}/healthz`)).status, 200);
  }
});

test('a commit without a message is listed like any other (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', sluice.gitUrl('silent'), 'main');
  await checkout.git('commit', '--quiet', '--allow-empty', '--allow-empty-message', '--message', '');
  const last = await checkout.commit('Three');
  assert.equal((await checkout.try('push', sluice.gitUrl('silent'), 'main')).code, 0);
  const { commits = [] } = (await sluice.releases('silent'))[0] ?? {};
  assert.deepEqual(
    commits.map(({ commit, subject }) => [commit === last, subject]),
    [
      [true, 'Three'],
      [false, ''],
    ],
  );
});

test('attributes of the machine leave out no file (thorough)', async (t) => {
  const home = await temporaryDirectory(t);
  await writeTree(join(home, '.config/git'), { attributes: 'server.js export-ignore\n' });
  const own = await startSluice(t, { env: { HOME: home, XDG_CONFIG_HOME: join(home, '.config') } });
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('all there'));
  const { code, output } = await checkout.try('push', own.gitUrl('whole'), 'main');
  assert.equal(code, 0, output);
});

test('a link to a path outside the repository is refused', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.link('passwd', '/etc/passwd');
  await checkout.commit('One', answering('one'));
  const { code, output } = await checkout.try('push', sluice.gitUrl('escape'), 'main');
  assert.equal(code, 1);
  assert.match(output, /^failed at receive: "passwd" links to "\/etc\/passwd", which is outside/m);
});

test('a repository with a single directory is not unwrapped', async (t) => {
  const checkout = await Checkout.create(t);
  const files = answering('inside');
  await checkout.commit(
    'One',
    Object.fromEntries(Object.entries(files).map(([path, file]) => [`app/${path}`, file])),
  );
  const { output } = await checkout.try('push', sluice.gitUrl('folder'), 'main');
  assert.match(output, /^failed at check: there is nothing to run: .+\n.+\n.+\{"root":"app"\}/m);
});

test('submodules and nested repositories are named in the error, unless they are ignored (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.write(answering('one'));
  await checkout.git('init', '--quiet', 'vendor/lib');
  await checkout.git('-C', 'vendor/lib', 'commit', '--quiet', '--allow-empty', '--message', 'Theirs');
  await checkout.git('add', '--all');
  await checkout.git('commit', '--quiet', '--message', 'One');
  const { code, output } = await checkout.try('push', sluice.gitUrl('modules'), 'main');
  assert.equal(code, 1);
  assert.match(
    output,
    /^failed at receive: "vendor\/lib": a submodule, and Sluice does not fetch those\n {2}.*export-ignore/m,
  );
  await checkout.commit('Without', { '.gitattributes': 'vendor/lib export-ignore\n' });
  assert.equal((await checkout.try('push', sluice.gitUrl('modules'), 'main')).code, 0);
});

test('files of git-lfs are named in the error, unless they are ignored', async (t) => {
  const checkout = await Checkout.create(t);
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 12345\n`;
  await checkout.commit('One', {
    ...answering('one'),
    'public/logo.png': pointer,
    'docs.md': `See: ${pointer}`,
  });
  const { code, output } = await checkout.try('push', sluice.gitUrl('lfs'), 'main');
  assert.equal(code, 1);
  assert.match(
    output,
    /^failed at receive: git-lfs keeps the content of "public\/logo\.png" elsewhere.*\n {2}.*git lfs migrate export/m,
  );
  await checkout.commit('Without', { '.gitattributes': 'public/logo.png filter=lfs export-ignore\n' });
  assert.equal((await checkout.try('push', sluice.gitUrl('lfs'), 'main')).code, 0);
});

test('with "root", the release is that directory alone', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', {
    'sluice.json': { root: 'apps/shop', branches: { staging: 'develop' } },
    'README.md': 'of all',
    ...below('apps/shop', { ...answering('shop'), 'package.json': { name: 'shop' } }),
    'apps/blog/server.js': '',
  });
  const { code, output } = await checkout.try('push', sluice.gitUrl('rooted'), 'main');
  assert.equal(code, 0, output);
  assert.match(output, /^ {3}the app is in apps\/shop$/m);
  assert.deepEqual((await readdir(current('rooted'))).sort(), [
    '.sluice',
    '.sluice-compiled',
    'package.json',
    'server.js',
    'sluice.json',
  ]);
  assert.equal(await sluice.get('rooted'), 'shop');
});

test('several apps share a repository, each with its own "root", also in an upload (thorough)', async (t) => {
  const files = {
    'sluice.json': { root: { one: 'apps/one', two: 'apps/two' } },
    ...below('apps/one', answering('first')),
    ...below('apps/two', answering('second')),
  };
  const checkout = await Checkout.create(t);
  await checkout.commit('Both', files);
  for (const app of ['one', 'two'])
    assert.equal((await checkout.try('push', sluice.gitUrl(app), 'main')).code, 0);
  assert.equal(await sluice.get('one'), 'first');
  assert.equal(await sluice.get('two'), 'second');
  assert.equal((await sluice.deploy('two', files)).state, 'live');
  const { output } = await checkout.try('push', sluice.gitUrl('three'), 'main');
  assert.match(output, /^failed at receive: "root" names no directory for the app three$/m);
});

test('a wrong "root", or settings that it would hide, are refused with the reason (thorough)', async (t) => {
  const cases: [object, RegExp][] = [
    [{ 'sluice.json': { root: 'missing' } }, /"root" is "missing", but there is no such directory/],
    [
      { 'sluice.json': { root: '../up' } },
      /root: expected a directory such as "server", or one for each app/,
    ],
    [{ 'sluice.json': { root: 'app', workers: 2 } }, /"workers" beside it would be ignored/],
    [
      { 'sluice.json': { root: 'app' }, 'app/sluice.json': { branches: {} } },
      /app has settings of its own for "branches"/,
    ],
    [{ 'sluice.json': { root: 'linked' } }, /"root" is "linked", but there is no such directory/],
  ];
  for (const [files, message] of cases) {
    const checkout = await Checkout.create(t);
    await checkout.link('linked', 'app');
    await checkout.commit('One', { 'app/server.js': '', ...files });
    const { code, output } = await checkout.try('push', sluice.gitUrl('wrong'), 'main');
    assert.equal(code, 1);
    assert.match(output, message);
  }
});

test('a link to a path outside the "root" is refused', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.write({
    'sluice.json': { root: 'app' },
    'secret.txt': '',
    ...below('app', answering('one')),
  });
  await checkout.link('app/out', '../secret.txt');
  await checkout.commit('One');
  const { output } = await checkout.try('push', sluice.gitUrl('leaving'), 'main');
  assert.match(output, /^failed at receive: "out" links to "\.\.\/secret\.txt", which is outside/m);
});

test('a push of 20,000 files and a push of 3,000 commits work (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const files: Record<string, string> = {};
  for (let file = 0; file < 20_000; file += 1) files[`data/${file % 200}/${file}.txt`] = `file ${file}`;
  await checkout.commit('Many files', { ...answering('many'), ...files });
  const many = await checkout.try('push', sluice.gitUrl('many'), 'main');
  assert.equal(many.code, 0, many.output);
  assert.match(many.output, /^ {3}202\d\d entries/m);
  const empty = await Checkout.create(t);
  const stream = Array.from({ length: 3000 }, (_, at) =>
    `commit refs/heads/main\ncommitter Ann <ann@example.com> ${1_700_000_000 + at} +0000\ndata 5\nc${String(at).padStart(4, '0')}\n${at === 0 ? '' : `from :${at}\n`}`.replace(
      '\n',
      `\nmark :${at + 1}\n`,
    ),
  );
  const directory = await temporaryDirectory(t);
  await writeFile(join(directory, 'stream'), stream.join(''));
  await empty.git('-c', `alias.load=!git fast-import --quiet < ${join(directory, 'stream')}`, 'load');
  await empty.git('reset', '--quiet', '--hard', 'main');
  await empty.commit('At last', answering('long'));
  const long = await empty.try('push', sluice.gitUrl('long'), 'main');
  assert.equal(long.code, 0, long.output);
  assert.equal(await sluice.get('long'), 'long');
});

function below(directory: string, files: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(files).map(([path, content]) => [`${directory}/${path}`, content]),
  );
}

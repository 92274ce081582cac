import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseSshConnection } from '../../src/cli/reached-address.ts';
import { answering, running } from '../support/apps.ts';
import { cli, sluiceBinary } from '../support/cli.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { startSluice } from '../support/server.ts';
import { Sshd } from '../support/sshd.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const directory = await temporaryDirectory(wholeFile);
const authorizedKeys = join(directory, 'authorized_keys');
const sluice = await startSluice(wholeFile, { settings: { ssh: { authorizedKeys } } });
const env = { SLUICE_HOME: sluice.home };

test('keys are added from a file, listed and removed, and the next step is printed', async (t) => {
  const sshd = await Sshd.start(t, authorizedKeys);
  await sshd.makeKey('laptop');
  const added = await cli(['keys', 'add', 'laptop', join(sshd.directory, 'laptop.pub'), '--app', 'shop'], {
    env: { ...env, SSH_CONNECTION: '203.0.113.7 50022 2001:db8::5 2222' },
  });
  assert.equal(added.code, 0, added.stderr);
  assert.match(added.stdout, /^laptop can push to the app shop: SHA256:\S+\n$/);
  assert.match(
    added.stderr,
    /authorized_keys, which sshd must read\.\n.*git remote add deploy ssh:\/\/\w+@\[2001:db8::5\]:2222\/shop/,
  );
  assert.match((await cli(['keys', 'list'], { env })).stdout, /^NAME .*\nlaptop +shop +SHA256:/);
  const checkout = await Checkout.create(t, { GIT_SSH_COMMAND: sshd.command('laptop') });
  await checkout.commit('One', answering('pushed'));
  const pushed = await checkout.try('push', sshd.url('shop'), 'main');
  assert.equal(pushed.code, 0, pushed.output);
  const removed = await cli(['keys', 'remove', 'laptop'], { env });
  assert.equal(removed.stdout, 'laptop can no longer push\n');
  assert.match((await checkout.try('fetch', sshd.url('shop'))).output, /Permission denied/);
  const missing = await cli(['keys', 'add', 'x', '/nonexistent.pub'], { env });
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /^failed: the key cannot be read: ENOENT/);
});

test('keys add takes the line of a key as an argument, and prints the address of the login above sudo (thorough)', async (t) => {
  const sshd = await Sshd.start(t, authorizedKeys);
  const line = (await sshd.makeKey('desk')).trim();
  // As sudo does: SSH_CONNECTION is not among its variables, but among those of the process above it.
  const script = 'env -u SSH_CONNECTION "$@"; status=$?; exit $status';
  const { stderr } = await promisify(execFile)(
    'sh',
    ['-c', script, 'sh', sluiceBinary, 'keys', 'add', 'desk', line],
    {
      env: { ...process.env, ...env, SSH_CONNECTION: '203.0.113.7 50022 198.51.100.9 22' },
    },
  );
  assert.match(stderr, /git remote add deploy ssh:\/\/\w+@198\.51\.100\.9\/APP && git push/);
  assert.match((await cli(['keys', 'list'], { env })).stdout, /\ndesk +all +SHA256:/);
  const empty = await cli(['keys', 'add', 'none', ''], { env });
  assert.equal(empty.code, 2);
  assert.match(empty.stderr, /^failed: the key is empty\n {2}.*ssh-keygen/);
});

test('an address that only the server itself can use is not printed', () => {
  const at = (server: string) => parseSshConnection(`203.0.113.7 50022 ${server} 22`)?.host;
  assert.equal(at('198.51.100.9'), '198.51.100.9');
  for (const server of ['127.0.0.1', '::1', 'fe80::1', 'fe80::1%eth0', 'UNKNOWN', ''])
    assert.equal(at(server), undefined, server);
});

test('deploy shows the commit of the directory, and the number of files that differ (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const commit = await checkout.commit('First version\n\nMore of it.', {
    ...answering('clean'),
    'lib/a.js': '',
  });
  const deploy = () => cli(['deploy', checkout.directory, '--app', 'noted'], { env });
  assert.match((await deploy()).stdout, /\n {3}commit \w{10} of main by Ann: First version\n/);
  await checkout.write({ 'lib/a.js': 'changed', 'lib/new.js': '' });
  await checkout.git('switch', '--quiet', '--detach');
  assert.match(
    (await deploy()).stdout,
    /\n {3}commit \w{10} by Ann: First version\n {3}with 2 uncommitted files\n/,
  );
  const [second, first] = await sluice.releases('noted');
  assert.ok(first && second);
  assert.deepEqual([first.commit, first.branch, first.changedFiles], [commit, 'main', 0]);
  assert.deepEqual([second.commit, second.branch, second.changedFiles], [commit, null, 2]);
  assert.equal(second.message, 'First version\n\nMore of it.');
  const list = await cli(['releases', 'noted'], { env });
  assert.match(
    list.stdout,
    new RegExp(
      `\\n2 .* ${commit.slice(0, 10)}\\+ +Ann +First version\\n1 .* ${commit.slice(0, 10)} +Ann +First version\\n$`,
    ),
  );
});

test('a directory of a repository is recorded as a part of the commit (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const url = sluice.gitUrl('part');
  const inside = Object.entries(answering('inside')).map(([path, content]) => [`app/${path}`, content]);
  await checkout.commit('Both', { ...answering('top'), ...Object.fromEntries(inside) });
  await checkout.git('push', url, 'main');
  const { stdout } = await cli(['deploy', join(checkout.directory, 'app'), '--app', 'part'], { env });
  assert.match(stdout, /\n {3}commit \w{10} of main by Ann: Both\n {3}of it, app\n/);
  assert.equal((await sluice.releases('part'))[0]?.directory, 'app');
  assert.equal(await sluice.get('part'), 'inside');
  assert.deepEqual(await remoteBranches(checkout, url), {}, 'what runs is not that commit');
  const again = await cli(['deploy', '--app', 'part', '--release', '2'], { env });
  assert.match(again.stderr, /cannot be built again: the upload is not a whole commit/);
});

test('a tracked file is sent, even if a rule ignores it', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', { ...answering('kept'), 'build/kept.js': '', 'kept.log': '' });
  await checkout.commit('Two', { '.gitignore': 'build/\n*.log\n' });
  await checkout.write({ 'build/new.js': '', 'new.log': '' });
  const { stdout } = await cli(['deploy', checkout.directory, '--app', 'kept', '--json'], { env });
  assert.equal(JSON.parse(stdout).changedFiles, 0);
  const tree = sluice.paths.environment({ app: 'kept', environment: 'production' }).current;
  for (const path of ['build/kept.js', 'kept.log']) await access(join(tree, path));
  for (const path of ['build/new.js', 'new.log']) await assert.rejects(access(join(tree, path)));
});

test('a directory without a repository, or without a commit, is deployed without a commit', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.write(answering('uncommitted'));
  const { code, stdout } = await cli(['deploy', checkout.directory, '--app', 'bare', '--json'], { env });
  assert.equal(code, 0, stdout);
  assert.equal(JSON.parse(stdout).commit, null);
});

test('deploy works with a repository that cannot be read, and prints a note', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('broken repository'));
  await rm(join(checkout.directory, '.git/objects'), { recursive: true });
  const { code, stdout } = await cli(['deploy', checkout.directory, '--app', 'unread'], { env });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^note: the release has no commit, since the repository cannot be read: /);
});

test('deploy leaves out what export-ignore excludes, as a push does (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', {
    ...answering('exported'),
    '.gitattributes':
      'docs/ export-ignore\n*.psd export-ignore\nkept.psd -export-ignore\n"with space.txt" export-ignore\n*.js text\n',
    'docs/page.md': '',
    'a.psd': '',
    'kept.psd': '',
    'with space.txt': '',
    'lib/.gitattributes': 'b.psd !export-ignore\nlocal.txt export-ignore\n',
    'lib/b.psd': '',
    'lib/c.psd': '',
    'lib/local.txt': '',
  });
  const paths = {
    sent: ['kept.psd', 'lib/b.psd', '.gitattributes', 'server.js'],
    not: ['docs', 'a.psd', 'with space.txt', 'lib/c.psd', 'lib/local.txt'],
  };
  assert.equal((await checkout.try('push', sluice.gitUrl('pushed'), 'main')).code, 0);
  assert.equal((await cli(['deploy', checkout.directory, '--app', 'exported'], { env })).code, 0);
  for (const app of ['pushed', 'exported']) {
    const tree = sluice.paths.environment({ app, environment: 'production' }).current;
    for (const path of paths.sent) await access(join(tree, path));
    for (const path of paths.not)
      await assert.rejects(access(join(tree, path)), { code: 'ENOENT' }, `${app}: ${path}`);
  }
});

test('deploy --release builds the commit of a release again if the server has it (thorough)', async (t) => {
  const checkout = await Checkout.create(t);
  const one = await checkout.commit('One', answering('one'));
  const url = sluice.gitUrl('anew');
  await checkout.git('push', url, 'main');
  await checkout.commit('Two', answering('two'));
  await checkout.git('push', url, 'main');
  const { code, stdout } = await cli(['deploy', '--app', 'anew', '--release', '1'], { env });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^release 3 of anew, production\n[\s\S]*\nlive: .+ release 3 /);
  assert.equal(await sluice.get('anew'), 'one');
  assert.deepEqual(await remoteBranches(checkout, url), { main: one });
  const detail = await cli(['releases', 'anew', '3'], { env });
  assert.match(detail.stdout, new RegExp(`\\ncommit ${one} of main by Ann\\n {2}One\\n`));

  await checkout.commit('Broken', running('process.exit(1)'));
  await checkout.try('push', url, 'main');
  const gone = await cli(['deploy', '--app', 'anew', '--release', '4'], { env });
  assert.equal(gone.code, 1);
  assert.match(
    gone.stderr,
    /^failed: release 4 of anew cannot be built again: commit \w{10} is not on the server\n/,
  );
  await sluice.deploy('anew', answering('uploaded'));
  const uploaded = await cli(['deploy', '--app', 'anew', '--release', '5'], { env });
  assert.match(
    uploaded.stderr,
    /^failed: release 5 of anew cannot be built again: the upload is not a whole commit\n/,
  );
  const both = await cli(['deploy', checkout.directory, '--app', 'anew', '--release', '1'], { env });
  assert.equal(both.code, 2);
});

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { answering, answeringOnceThereIs, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import type { Files } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const env = { SLUICE_HOME: sluice.home };

test('deploy sends a directory without node_modules and ignored files, and shows the steps', async (t) => {
  const directory = await directoryOf(t, {
    ...answering('packed'),
    'package.json': { name: 'packed' },
    'package-lock.json': { name: 'packed', lockfileVersion: 3, packages: { '': { name: 'packed' } } },
    '.gitignore': '*.secret\n/build/\n!keep.secret\n',
    'keep.secret': '',
    'drop.secret': '',
    'build/out.js': '',
    'lib/build/kept.js': '',
    'lib/.gitignore': 'local\n',
    'lib/local/x.js': '',
    'node_modules/junk/index.js': '',
    '.git/config': '',
    '@file': '',
  });
  const { code, stdout, stderr } = await cli(['deploy'], { cwd: directory, env });
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.match(stdout, /^packed from .+, \d+ files\n/);
  assert.match(stdout, /\n-- switch\n/);
  assert.match(stdout, /\nlive: http:\/\/127\.0\.0\.1:\d+ release 1 in .+\n$/);
  assert.equal(await sluice.get('packed'), 'packed');
  const release = join(sluice.home, 'apps/packed/production/current/');
  for (const path of ['keep.secret', 'lib/build/kept.js', '@file']) await access(join(release, path));
  for (const path of ['drop.secret', 'build', 'lib/local', '.git', 'node_modules/junk']) {
    await assert.rejects(access(join(release, path)), { code: 'ENOENT' }, path);
  }
});

test('a member of a workspace is not sent without the members that it depends on', async (t) => {
  const workspace = await directoryOf(t, {
    '.git/HEAD': '',
    'package.json': { workspaces: ['apps/*', 'packages/*'] },
    'packages/lib/package.json': { name: 'lib' },
    'apps/web/package.json': { name: 'web', dependencies: { lib: '*' } },
    'apps/alone/package.json': { name: 'alone' },
    'apps/alone/server.js': answering('alone')['server.js'],
  });
  const deploy = (directory: string) => cli(['deploy', join(workspace, directory)], { env });
  const web = await deploy('apps/web');
  assert.equal(web.code, 2);
  assert.match(
    web.stderr,
    /^failed: apps\/web is a member of the workspace .+ depends on lib, another member/,
  );
  assert.match(web.stderr, /write \{"directory": "apps\/web"\} in .+\/sluice\.json/);
  const alone = await deploy('apps/alone');
  assert.equal(alone.code, 0);
  assert.match(alone.stdout, /^note: apps\/alone is a member of a workspace, whose lockfile is not sent\./m);
});

test('the rules of a repository apply in its directories, unless they exclude the whole directory', async (t) => {
  const repository = await directoryOf(t, {
    '.git/HEAD': '',
    '.gitignore': 'generated.js\nout/\n',
    'app/server.js': answering('app')['server.js'],
    'app/generated.js': '',
    'out/server.js': answering('out')['server.js'],
  });
  const count = async (directory: string) => {
    const { stdout } = await cli(['deploy', join(repository, directory), '--app', directory], { env });
    return / (\d+) files?\n/.exec(stdout)?.[1];
  };
  assert.equal(await count('app'), '1');
  assert.equal(await count('out'), '1');
});

test('a failed deploy prints step and cause, exits with status 1, and leaves the old release live (thorough)', async (t) => {
  const directory = await directoryOf(t, answering('good'));
  assert.equal((await cli(['deploy', directory, '--app', 'steady'], { env })).code, 0);
  const broken = await directoryOf(t, running('throw new Error("nothing works")'));
  const told = await cli(['deploy', broken, '--app', 'steady'], { env });
  assert.equal(told.code, 1);
  assert.match(told.stderr, /^failed at boot: .+\n[\s\S]*nothing works/);
  assert.match(told.stderr, /\n {2}Its log: sluice releases steady 2 --log\n {2}\S.+\n$/);
  const json = await cli(['deploy', broken, '--app', 'steady', '--json'], { env });
  assert.equal(json.code, 1);
  const { error } = JSON.parse(json.stdout);
  assert.equal(error.code, 'boot_exited');
  assert.equal(error.step, 'boot');
  assert.equal(error.release, 3);
  const newest = await cli(['releases', 'steady', '--log'], { env });
  assert.equal(newest.stdout, (await cli(['releases', 'steady', '3', '--log'], { env })).stdout);
  assert.match(newest.stdout, /boot/);
  assert.equal(await sluice.get('steady'), 'good');
});

test('deploy and rollback print the release as JSON, and rollback returns to the earlier release (thorough)', async (t) => {
  const deploy = async (text: string) =>
    cli(['deploy', await directoryOf(t, answering(text)), '-a', 'json', '--json'], { env });
  assert.equal(JSON.parse((await deploy('one')).stdout).state, 'live');
  assert.equal(JSON.parse((await deploy('two')).stdout).number, 2);
  const back = await cli(['rollback', 'json', '--json'], { env });
  assert.equal(JSON.parse(back.stdout).number, 1);
  assert.equal(await sluice.get('json'), 'one');
  const told = await cli(['rollback', 'json', '2'], { env });
  assert.match(told.stdout, /\nlive: .+ release 2/);
  assert.match((await cli(['releases', 'json'], { env })).stdout, /\n2 +live .*\n1 +retained /);
});

test('Ctrl-C cancels a deploy during its build', async (t) => {
  const directory = await directoryOf(t, {
    ...answering('never'),
    'package.json': { name: 'slow', scripts: { build: 'echo building now && sleep 60' } },
  });
  const { code, stderr } = await cli(['deploy', directory], {
    env,
    whileRunning(child) {
      let told = '';
      const interrupt = (chunk: Buffer) => {
        told += chunk;
        if (!/^ {3}building now$/m.test(told)) return;
        child.stdout?.off('data', interrupt);
        child.kill('SIGINT');
      };
      child.stdout?.on('data', interrupt);
    },
  });
  assert.equal(code, 1);
  assert.match(stderr, /^failed at build: .*cancelled/);
  assert.deepEqual((await sluice.status('slow')).deploying, []);
  assert.equal((await sluice.releases('slow'))[0]?.state, 'failed');
});

test('Ctrl-C does not cancel a rollback (thorough)', async (t) => {
  const file = join(await temporaryDirectory(t), 'go');
  await writeFile(file, '');
  await sluice.deploy('undone', answeringOnceThereIs(file, 'one'));
  await sluice.deploy('undone', answering('two'));
  await rm(file);
  const { code, stdout, stderr } = await cli(['rollback', 'undone'], {
    env,
    whileRunning(child) {
      let told = '';
      child.stdout?.on('data', (chunk: Buffer) => {
        const before = told;
        told += chunk;
        const first = (text: string) => told.includes(text) && !before.includes(text);
        if (first('-- boot')) child.kill('SIGINT');
        // By now it has heard of Ctrl-C, and the release may come up.
        if (first('Ctrl-C again')) writeFileSync(file, '');
      });
    },
  });
  assert.equal(stderr, '');
  assert.match(stdout, /\na rollback cannot be cancelled, and continues .+\n[\s\S]*\nlive: .+ release 1 in/);
  assert.equal(code, 0);
  assert.equal(await sluice.get('undone'), 'one');
});

test('another machine deploys with a URL and a token (thorough)', async (t) => {
  const { stdout: token, stderr } = await cli(['token', 'create', 'ci', '--app', 'remote'], { env });
  assert.match(stderr, /not shown again/);
  const remote = { SLUICE_URL: sluice.url, SLUICE_TOKEN: token.trim() };
  const directory = await directoryOf(t, answering('from afar'));
  assert.equal((await cli(['deploy', directory, '--app', 'remote'], { env: remote })).code, 0);
  assert.equal(await sluice.get('remote'), 'from afar');
  assert.equal((await sluice.releases('remote'))[0]?.by, 'ci');
  const refused = await cli(['deploy', directory, '--app', 'other'], { env: remote });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^failed: the token ci is for the app remote only/);
});

test('deploy takes the name of the app from package.json, and fails without a name', async (t) => {
  const directory = await directoryOf(t, answering('x'));
  const { code, stderr } = await cli(['deploy'], { cwd: directory, env });
  assert.equal(code, 2);
  assert.match(stderr, /Name the app: --app NAME/);
});

test('a directory without an app, such as a home, is rejected before anything is sent', async (t) => {
  const directory = await directoryOf(t, { '.ssh/id_ed25519': 'a key', 'notes.txt': '' });
  const { code, stdout, stderr } = await cli(['deploy', '--app', 'home'], { cwd: directory, env });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(
    stderr,
    /^failed: no app in .+: it has no package\.json, sluice\.json, Procfile, index\.html or server\.js\n/,
  );
  await assert.rejects(sluice.status('home'), { code: 'app_not_found' });
});

test('deploy reports a broken package.json and a directory that does not exist', async (t) => {
  const broken = await directoryOf(t, { 'package.json': '{"name": "shop",}' });
  const told = await cli(['deploy', broken], { env });
  assert.equal(told.code, 1);
  assert.match(told.stderr, /^failed: .+package\.json is not valid JSON: [^\n]+\n$/);
  const missing = await cli(['deploy', join(broken, 'nothing'), '--app', 'shop'], { env });
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /^failed: directory .+nothing not found\n$/);
  const file = await cli(['deploy', join(broken, 'package.json'), '--app', 'shop'], { env });
  assert.equal(file.code, 2);
  assert.match(file.stderr, /package\.json is a file, not a directory\n$/);
});

test('an invalid app name is reported with its place and a valid name (thorough)', async (t) => {
  for (const [name, like] of [
    ['@acme/api', 'api'],
    ['Quick_App', 'quick-app'],
    ['2.Fast--', 'fast'],
  ]) {
    const directory = await directoryOf(t, { 'package.json': { name } });
    const { code, stderr } = await cli(['deploy'], { cwd: directory, env });
    assert.equal(code, 2);
    assert.equal(stderr, `failed: invalid app name in package.json: "${name}"\n  Try --app ${like}.\n`);
  }
  const directory = await directoryOf(t, answering('x'));
  const wrong = await cli(['deploy', '--app', 'shop', '-e', 'Stag'], { cwd: directory, env });
  assert.match(wrong.stderr, /^failed: invalid name of an environment: "Stag"\n/);
  const misplaced = await cli(['deploy', 'shop@staging'], { cwd: directory, env });
  assert.equal(
    misplaced.stderr,
    'failed: directory shop@staging not found\n  Did you mean --app shop@staging?\n',
  );
});

async function directoryOf(t: Parameters<typeof temporaryDirectory>[0], files: Files): Promise<string> {
  const directory = await temporaryDirectory(t);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return directory;
}

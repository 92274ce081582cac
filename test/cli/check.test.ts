import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AppError } from '../../src/errors/app-error.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { assertSameDecision, type Decided, decidedBy, shownForFiles } from '../support/same-decision.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { type Files, writeTree } from '../support/tree.ts';
import { wholeFile } from '../support/whole-file.ts';

const fixtures = join(import.meta.dirname, '../fixtures/apps');
const sluice = await startSluice(wholeFile);

/** Apps of different kinds that go live without an install. */
const apps: Record<string, Files> = {
  conventional: { ...answering('hello'), 'package.json': { name: 'conventional' } },
  script: {
    'src/main.js': answering('hello')['server.js'],
    'package.json': { name: 'script', scripts: { start: 'NODE_ENV=test node src/main.js --port $PORT' } },
    '.nvmrc': '26',
  },
  procfile: { 'web.js': answering('hello')['server.js'], Procfile: 'web: node web.js\nmail: node mail.js\n' },
  processes: {
    ...{ 'web.js': answering('hello')['server.js'], 'mail.js': 'setInterval(() => undefined, 1000)' },
    Procfile: 'web: node web.js\nMail_1: node mail.js\nrelease: echo released\n',
    'sluice.json': { workers: 1, processes: { 'mail-1': { count: 2 } } },
  },
  built: {
    'source.js': answering('hello')['server.js'],
    'package.json': {
      name: 'built',
      scripts: { build: 'mkdir dist && cp source.js dist/main.js', start: 'node dist/main.js' },
    },
    'sluice.json': '{\n  // Two are enough.\n  "workers": 2, "health": {"path": "/health"},\n}',
  },
  shell: {
    ...answering('hello'),
    'start.sh': '#!/bin/sh\nnode server.js\n',
    'package.json': { name: 'shell', scripts: { start: 'sh start.sh' } },
  },
  site: { 'index.html': '<h1>hello</h1>', '.env': 'SECRET=1' },
  public: { 'public/index.html': '<h1>hello</h1>', 'readme.txt': 'hello' },
  member: {
    'package.json': { name: 'top', private: true, workspaces: ['apps/*'] },
    'sluice.json': { root: 'apps/web' },
    'apps/web/package.json': { name: 'web', scripts: { start: 'node server.js' } },
    'apps/web/server.js': answering('hello')['server.js'],
  },
};

/** Apps that a deploy rejects before the build. */
const rejected: Record<string, Files> = {
  nothing: { 'package.json': { name: 'nothing' }, 'readme.txt': 'hello' },
  python: { 'package.json': { scripts: { start: 'python3 app.py' } } },
  missing: { 'package.json': { scripts: { start: 'node missing.js' } } },
  unbuilt: {
    ...answering('x'),
    'sluice.json': { start: 'node server.js', build: { command: 'compile' } },
    'package.json': {},
  },
  managers: {
    ...answering('x'),
    ...{ 'package.json': { dependencies: { ms: '2' } }, 'package-lock.json': '{}', 'yarn.lock': '' },
  },
  node: { ...answering('x'), '.nvmrc': '99' },
  pointer: {
    ...answering('x'),
    'data.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n',
    '.gitattributes': '*.bin filter=lfs\n',
  },
};

for (const [app, files] of Object.entries(apps)) {
  test(`check decides as the deploy does: ${app}`, async (t) => {
    const directory = await directoryOf(t, files);
    const { code, stdout, stderr } = await cli(['check', directory, '--json', '--app', app]);
    assert.deepEqual([code, stderr], [0, '']);
    const { number } = await sluice.deploy(app, files);
    const decided = await decidedBy(sluice.paths.environment({ app, environment: 'production' }), number);
    assertSameDecision({ preview: JSON.parse(stdout) }, decided);
  });
}

test('check rejects an app with the error of its deploy', async (t) => {
  for (const [app, files] of Object.entries(rejected)) {
    const { code, stdout } = await cli(['check', await directoryOf(t, files), '--json', '--app', app]);
    assert.equal(code, 1);
    const error = await sluice.deploy(app, files).catch((reason: AppError) => reason.toJSON());
    assert.ok('code' in error, `${app} is live`);
    assertSameDecision(JSON.parse(stdout), { error });
  }
});

test('check decides as the deploy does, for each app that other tests run (thorough)', async () => {
  for (const name of await readdir(fixtures)) {
    const app = name.replace(/\.\w+$/, '');
    const files = {
      [`server.${name.endsWith('.mjs') ? 'mjs' : 'cjs'}`]: await readFile(join(fixtures, name), 'utf8'),
      'package.json': { name: app, dependencies: {} },
    };
    const shown = await shownForFiles(files, app);
    assertSameDecision(shown, await decidedBeforeBoot(app, files));
  }
});

/** Deploys an app as far as to its boot, which would take the longest. */
async function decidedBeforeBoot(app: string, files: Files): Promise<Decided> {
  const paths = sluice.paths.environment({ app, environment: 'production' });
  let number = 0;
  for await (const event of sluice.watchDeploy(app, files)) {
    if (event.event === 'accepted') number = event.release;
    if (event.event === 'failed') return { error: event.error };
    // The end of the loop closes the connection, which cancels the deploy.
    if (event.event === 'step' && event.step === 'boot') return await decidedBy(paths, number);
  }
  throw new Error(`the deploy of ${app} has no end`);
}

test('check shows what is decided, and fails as the deploy would', async (t) => {
  const directory = await directoryOf(t, apps['built'] as Files);
  const { stdout, code } = await cli(['check', directory]);
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `${directory}, 3 files

Node.js    ${process.versions.node} (the app asks for no version)
settings   workers 2, health.path /health (sluice.json)
packages   builds with npm 11.19.1 (no lockfile)
app        starts with dist/main.js ("start" in package.json)
later      The build must write dist/main.js.
workers    2
health     GET /health must answer 100-499 within 30 s
`,
  );
  const ofPm2 = `module.exports = {
    script: 'server.js', max_memory_restart: '300M', kill_timeout: 3000, env: { TOKEN: 'hunter2' }, args: 'secret-word',
  }`;
  const other = await directoryOf(t, {
    ...{ 'server.js': answering('x')['server.js'], 'ecosystem.config.js': ofPm2 },
    'sluice.json': { health: { path: '/up' }, hooks: { preSwitch: 'KEY=abc true' }, shared: ['data'] },
  });
  const values = await cli(['check', other]);
  assert.match(
    values.stdout,
    /\nsettings +health\.path \/up, hooks\.preSwitch, shared \[data\] \(sluice\.json\)\n/,
  );
  assert.match(
    values.stdout,
    /\n {11}workers 1, env\.TOKEN, killTimeout 3\.0 s, maxMemory 300 MiB, .+ \(ecosystem\.config\.js\)\n/,
  );
  assert.doesNotMatch(values.stdout, /hunter2|abc/);
  await writeFile(join(directory, 'package.json'), '{"scripts": {"start": "python3 app.py"}}');
  const failed = await cli(['check', directory]);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /^failed: "start" in package\.json is `python3 app\.py`/);
});

test('check rejects a home directory before it reads the files, and a directory without an app', async (t) => {
  const home = await directoryOf(t, { 'shop/server.js': '', 'notes/todo.txt': '' });
  const rejects = async (directory: string) => {
    const { code, stderr } = await cli(['check', directory], { env: { HOME: join(home, 'notes') } });
    assert.equal(code, 1);
    assert.match(stderr, /^failed: no app in .+\n.*sluice check DIRECTORY/);
  };
  await rejects(join(home, 'notes'));
  await rejects(home);
  const elsewhere = await cli(['check', home]);
  assert.match(elsewhere.stderr, /^failed: there is nothing to run.+"root":"shop"/s);
});

test('check counts only what a deploy uploads', async (t) => {
  const directory = await directoryOf(t, {
    'package.json': {},
    'server.js': '',
    '.gitignore': 'server.js\n',
  });
  const { code, stderr } = await cli(['check', directory]);
  assert.equal(code, 1);
  assert.match(stderr, /^failed: there is nothing to run/);
});

test('init writes settings with comments that change no decision, and replaces none', async (t) => {
  const directory = await directoryOf(t, {
    'server.js': '',
    'package.json': { name: 'shop', scripts: { start: 'node server.js' }, devDependencies: { knex: '3' } },
  });
  await mkdir(join(directory, 'uploads'));
  const decisions = async () => {
    const { stdout } = await cli(['check', directory]);
    return stdout.split('\n').filter((line, at) => at > 0 && !line.startsWith('settings '));
  };
  const before = await decisions();
  const { code, stdout } = await cli(['init'], { cwd: directory });
  assert.deepEqual([code, stdout], [0, `wrote ${directory}/sluice.json: all settings have comments\n`]);
  const text = await readFile(join(directory, 'sluice.json'), 'utf8');
  assert.match(
    text,
    /\/\/ Command that starts the app\. Without this setting: the app starts with server\.js/,
  );
  assert.match(text, /\/\/ "hooks": \{"preSwitch": "npx knex migrate:latest"\},/);
  assert.match(text, /\/\/ "shared": \["uploads"\],/);
  assert.deepEqual(await decisions(), before);
  const uncommented = text.replaceAll(/^ {2}\/\/ (?=")/gm, '  ');
  await writeFile(join(directory, 'sluice.json'), uncommented);
  assert.equal((await cli(['check', directory])).code, 0, 'each setting in a comment is valid');
  const again = await cli(['init', directory]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /sluice\.json exists already/);
  assert.equal(await readFile(join(directory, 'sluice.json'), 'utf8'), uncommented);
});

async function directoryOf(t: TestContext, files: Files): Promise<string> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  return directory;
}

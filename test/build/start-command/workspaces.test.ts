import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { planDeploy } from '../../../src/build/plan.ts';
import { completeStart, decideStart } from '../../../src/build/start-command/start-plan.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import type { Files } from '../../support/tree.ts';

/** Workspace in which the top and two members have scripts of the same names. */
function workspace(start: string): Files {
  return {
    'package.json': {
      workspaces: ['apps/*', 'packages/*'],
      scripts: { start, serve: 'node wrong.js' },
    },
    'wrong.js': '',
    'apps/web/package.json': {
      name: '@acme/web',
      scripts: { start: 'node server.js', serve: 'node serve.js' },
    },
    'apps/web/server.js': '',
    'apps/web/serve.js': '',
    'apps/api/package.json': {
      name: 'api',
      main: 'server.js',
      scripts: { start: 'node server.js', only: 'ONLY=1 node server.js' },
    },
    'apps/api/server.js': '',
    'packages/ui/package.json': { name: 'ui' },
    'services/mail/package.json': { name: 'mail', scripts: { start: 'node mail.js' } },
    'services/mail/mail.js': '',
    'apps/api/project.json': {
      name: 'api',
      targets: {
        build: {
          executor: '@nx/esbuild:esbuild',
          options: { outputPath: 'dist/apps/api', main: 'apps/api/src/main.ts' },
        },
        node: { executor: '@nx/js:node', options: { buildTarget: 'api:build:production' } },
        run: { command: 'node server.js', options: { cwd: 'apps/api' } },
      },
    },
    'dist/apps/api/main.js': '',
  };
}

async function planOf(t: TestContext, files: Files, settings: Parameters<typeof appSettings>[0] = {}) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  const all = appSettings(settings);
  const plan = await completeStart(directory, all, await decideStart(directory, all));
  const { script, args, env, exec, directory: at = '' } = plan;
  return { script, at, args, env, exec };
}

const web = { script: 'apps/web/server.js', at: 'apps/web' };
const serve = { script: 'apps/web/serve.js', at: 'apps/web' };
const api = { script: 'apps/api/server.js', at: 'apps/api' };
const mail = { script: 'services/mail/mail.js', at: 'services/mail' };

const commands: [start: string, plan: { script: string; at: string; args?: string[]; env?: object }][] = [
  ['npm start -w @acme/web', web],
  ['npm -w web start', web],
  ['npm -w apps/web start', web],
  ['npm start --workspace=web', web],
  ['npm run start --workspace=web', web],
  ['npm run serve --workspace=web', serve],
  ['npm --workspace web run serve', serve],
  ['npm run serve -w web -- --port 80', { ...serve, args: ['--port', '80'] }],
  ['npm run only -ws --if-present', { ...api, env: { ONLY: '1' } }],
  ['npm --prefix apps/web start', web],
  ['npm --prefix=services/mail start', mail],
  ['npm start --prefix services/mail', mail],
  ['npm -C apps/web run serve', serve],
  ['npm exec -w web -- node server.js', web],
  ['npx -w api node server.js', api],
  ['pnpm --filter web start', web],
  ['pnpm --filter=@acme/web... start', web],
  ['pnpm --filter ./apps/web run serve', serve],
  ['pnpm -F api start', api],
  ['pnpm run --filter api only', { ...api, env: { ONLY: '1' } }],
  ['pnpm -C apps/web start', web],
  ['pnpm --dir services/mail start', mail],
  ['pnpm -r run only', { ...api, env: { ONLY: '1' } }],
  ['pnpm --filter web exec node serve.js', serve],
  ['yarn workspace @acme/web start', web],
  ['yarn workspace web run serve', serve],
  ['yarn workspace web node serve.js', serve],
  ['yarn workspaces foreach --include api run start', api],
  ['yarn workspaces run only', { ...api, env: { ONLY: '1' } }],
  ['yarn --cwd apps/web start', web],
  ['bun run --filter web start', web],
  ['bun --cwd services/mail start', mail],
  ['lerna run start --scope=@acme/web --stream', web],
  ['npx lerna run serve', serve],
  ['lerna exec --scope web -- node serve.js', serve],
  ['turbo run start --filter=web', web],
  ['turbo start --filter web...', web],
  ['turbo run start --filter=./apps/web', web],
  ['npx turbo run api#start', api],
  ['turbo run serve', serve],
  ['nx serve web', serve],
  ['nx run web:serve', serve],
  ['nx run web:serve:production', serve],
  ['nx run-many -t start -p web', web],
  ['nx run api:node', { script: 'dist/apps/api/main.js', at: '' }],
  ['npx nx run api:run', api],
  ['cd apps/web && npm start', web],
  ['cd apps/web; npm run serve', serve],
  ['cd apps/web && node server.js', web],
  ['cd apps && npm -w web start', web],
  ['node apps/web/server.js', { script: 'apps/web/server.js', at: '' }],
];

test('a file of a member runs in the directory of the member if it opens what only the member has', async (t) => {
  const opens = (code: string, more: object = {}) =>
    planOf(t, {
      ...workspace('node apps/web/server.js'),
      'apps/web/server.js': code,
      'apps/web/view.html': '',
      ...more,
    });
  const code = 'http.createServer((q, s) => s.end(fs.readFileSync("view.html", "utf8")))';
  const inMember = { ...web, args: [], env: {}, exec: undefined };
  const inRoot = { ...inMember, at: '' };
  assert.deepEqual(await opens(code), inMember);
  assert.deepEqual(await opens('app.use(express.static("./public"))', { 'apps/web/public/a': '' }), inMember);
  assert.deepEqual(await opens(code, { 'view.html': '' }), inRoot);
  assert.deepEqual(
    await opens('fs.readFileSync("../web/view.html"); fs.readFileSync(join(__dirname, "view.html"))'),
    inRoot,
  );
});

for (const [start, { script, at, args = [], env = {} }] of commands) {
  test(`\`${start}\` runs ${script} in ${at || 'the release'}`, async (t) => {
    assert.deepEqual(await planOf(t, workspace(start)), { script, at, args, env, exec: undefined });
  });
}

const rejected: [start: string, message: RegExp, hint?: RegExp][] = [
  [
    'npm -w missing start',
    /no member of the workspace has the name missing$/,
    /\{"directory": "apps\/api"\} in sluice\.json, or another of "apps\/web"/,
  ],
  ['turbo run start', /it starts several members of the workspace: api, @acme\/web$/],
  ['pnpm -r start', /it starts several members/],
  ['turbo run nothing', /no member of the workspace has a script "nothing"$/],
  ['npm -w ui run serve', /package\.json has no script "serve"$/],
  ['npm --prefix ../up start', /\.\.\/up is outside the release$/],
  ['nx serve missing', /nx has no project "missing"/],
];

for (const [start, message, hint = /sluice\.json/] of rejected) {
  test(`\`${start}\` is rejected before the build`, async (t) => {
    await assert.rejects(planOf(t, workspace(start)), { code: 'unsupported_start', message, hint });
  });
}

/** Workspace without a start at its top. */
function members(all: Record<string, object>, files: Files = {}): Files {
  const manifests = Object.entries(all).map(([name, manifest]) => [
    `apps/${name}/package.json`,
    { name, ...manifest },
  ]);
  return {
    'package.json': { workspaces: ['apps/*'], main: 'index.js' },
    ...Object.fromEntries(manifests),
    ...files,
  };
}

const start = { scripts: { start: 'node server.js' } };
const vite = { scripts: { build: 'vite build', start: 'vite' }, devDependencies: { vite: '7' } };

test('the only member with a start is the app, also beside a member that serves files', async (t) => {
  const files = members({ api: start, web: vite, lib: { main: 'index.js' } }, { 'apps/api/server.js': '' });
  assert.deepEqual(await planOf(t, files), { ...api, args: [], env: {}, exec: undefined });
});

test('a library with a build is not the app', async (t) => {
  const library = { main: 'dist/index.js', scripts: { build: 'tsup' } };
  const expected = { ...api, args: [], env: {}, exec: undefined };
  const files = members({ api: start, 'a-library': library }, { 'apps/api/server.js': '' });
  assert.deepEqual(await planOf(t, files), expected);
  const main = { 'apps/api/package.json': { name: 'api', main: 'server.js', scripts: { build: 'x' } } };
  assert.deepEqual(await planOf(t, { ...files, ...main, 'apps/a-library/package.json': {} }), {
    ...{ script: 'apps/api/server.js', at: 'apps/api', args: [], env: {}, exec: undefined },
  });
  const directory = await temporaryDirectory(t);
  await writeTree(directory, members({ 'a-library': library, web: vite }));
  const { candidates } = await decideStart(directory, appSettings());
  assert.equal(candidates[0]?.directory, 'apps/web');
});

test('a single-page app is not the app beside a server that nothing starts', async (t) => {
  const react = { scripts: { build: 'vite build' }, devDependencies: { vite: '7', 'react-dom': '19' } };
  const library = { main: 'dist/index.js', scripts: { build: 'tsc' }, dependencies: { fastify: '5' } };
  await assert.rejects(planOf(t, members({ api: library, web: react })), {
    code: 'nothing_to_run',
    message: 'nothing says which member of the workspace is the app: api, web have a start',
  });
  const directory = await temporaryDirectory(t);
  await writeTree(directory, members({ library: { ...library, dependencies: {} }, web: react }));
  const { candidates } = await decideStart(directory, appSettings());
  assert.equal(candidates[0]?.directory, 'apps/web');
});

test('a workspace of very many members is decided in little time', async (t) => {
  const directory = await temporaryDirectory(t);
  const hostile = { scripts: { build: `"${'a'.repeat(10_000)}"`, 'start:prod': 'npm run build && x' } };
  const names = Array.from({ length: 1500 }, (_, at) => [`m${at}`, hostile]);
  await writeTree(directory, members(Object.fromEntries(names)));
  const from = performance.now();
  await assert.rejects(decideStart(directory, appSettings()), { code: 'nothing_to_run' });
  // It takes 3 s on a busy machine.
  t.diagnostic(`${performance.now() - from} ms`);
  assert.ok(performance.now() - from < 30_000);
});

test('if several members have a start, the error names the line that selects one', async (t) => {
  const files = members({ api: start, admin: start, lib: {} });
  await assert.rejects(planOf(t, files), {
    code: 'nothing_to_run',
    message: 'nothing says which member of the workspace is the app: admin, api have a start',
    hint: /^Write \{"directory": "apps\/admin"\} in sluice\.json, or another of "apps\/api"/,
  });
});

test('a development command of a member is replaced by its production command', async (t) => {
  const nest = { scripts: { start: 'nest start', 'start:prod': 'node server.js' } };
  const files = { ...members({ api: nest }), 'apps/api/server.js': '' };
  const atTop = { workspaces: ['apps/*'], scripts: { start: 'npm -w api start' } };
  const expected = { ...api, args: [], env: {}, exec: undefined };
  assert.deepEqual(await planOf(t, { ...files, 'package.json': atTop }), expected);
  assert.deepEqual(await planOf(t, files, { directory: 'apps/api' }), expected);
});

test('the build of a member, and a build script that does not exist, are known before the install', async (t) => {
  const directory = await temporaryDirectory(t);
  const nodes = { own: process.versions.node, list: async () => assert.fail() };
  const build = async (settings: object) => {
    const web = { name: 'web', scripts: { build: 'x', start: 'node server.js' } };
    await writeTree(directory, {
      'package.json': { workspaces: ['apps/*'], scripts: { start: 'npm -w web start' } },
      'apps/web/package.json': web,
      'sluice.json': settings,
    });
    const { build } = await planDeploy(directory, { nodes, cores: 1 });
    return { installs: build?.installs, scripts: build?.scripts };
  };
  assert.deepEqual(await build({}), { installs: true, scripts: [{ name: 'build', member: 'apps/web' }] });
  await assert.rejects(build({ build: { command: 'make' } }), {
    code: 'invalid_settings',
    message: 'build.command is "make", but package.json has no such script',
  });
});

test('a program of a member is found in its node_modules, or in those above', async (t) => {
  const next = { name: 'next', bin: { next: 'cli.js' } };
  for (const modules of ['node_modules', 'apps/web/node_modules']) {
    const files = {
      'package.json': { workspaces: ['apps/*'], scripts: { start: 'npm start -w web' } },
      'apps/web/package.json': {
        name: 'web',
        scripts: { start: 'next start' },
        dependencies: { next: '16' },
      },
      [`${modules}/next/package.json`]: next,
      [`${modules}/next/cli.js`]: '',
    };
    const plan = {
      script: `${modules}/next/cli.js`,
      at: 'apps/web',
      args: ['start'],
      env: {},
      exec: undefined,
    };
    assert.deepEqual(await planOf(t, files), plan);
  }
});

test('dependencies of the member that starts, and of the members that it needs, decide the number of workers', async (t) => {
  const directory = await temporaryDirectory(t);
  const nodes = { own: process.versions.node, list: async () => assert.fail() };
  const workers = async (start: string) => {
    await writeTree(directory, {
      'package.json': { workspaces: ['apps/*', 'packages/*'], scripts: { start } },
      'apps/web/package.json': {
        name: 'web',
        scripts: { start: 'node server.js' },
        dependencies: { store: '*' },
      },
      'apps/web/server.js': '',
      'apps/api/package.json': { name: 'api', scripts: { start: 'node server.js' } },
      'apps/api/server.js': '',
      'packages/store/package.json': { name: 'store', dependencies: { 'better-sqlite3': '12' } },
    });
    return (await planDeploy(directory, { nodes, cores: 4 })).workers;
  };
  assert.equal((await workers('npm -w api start')).count, 4);
  for (const command of ['npm -w web start', 'node apps/web/server.js']) {
    const { count, reason } = await workers(command);
    assert.equal(count, 1, command);
    assert.match(reason ?? '', /better-sqlite3 is an embedded database/);
  }
});

import assert from 'node:assert/strict';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import * as v from 'valibot';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { appVariables, isForeign } from '../../src/import/foreign-variables.ts';
import { namedInFiles } from '../../src/import/named-in-files.ts';
import { planImport } from '../../src/import/plan.ts';
import { appsOf, type Pm2App } from '../../src/import/pm2-apps.ts';
import { parseProcessList } from '../../src/import/pm2-list.ts';
import { findPorts } from '../../src/import/pm2-ports.ts';
import type { Listener } from '../../src/system/net/listeners.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Process as `pm2 jlist` prints it. */
function listed(name: string, directory: string, options: Record<string, unknown> = {}) {
  const { pid = 0, pm_id = 0, ...own } = options;
  const env = {
    PATH: '/bin',
    HOME: '/home/me',
    [name]: {},
    unique_id: 'x',
    PM2_USAGE: 'CLI',
    ...(own['env'] ?? {}),
  };
  const common = { name, namespace: 'default', pm_exec_path: `${directory}/server.js`, pm_cwd: directory };
  const more = { exec_mode: 'fork_mode', exec_interpreter: 'node', node_args: [], status: 'online' };
  return { pid, pm_id, name, pm2_env: { ...common, ...more, node_version: '20.20.2', ...own, env } };
}

const parse = (list: unknown) => parseProcessList(JSON.stringify(list), 'the list');
const listener = (port: number, pid: number, host = '::'): Listener => ({
  host,
  port,
  uid: 1000,
  pids: [pid],
});

async function project(t: Parameters<typeof temporaryDirectory>[0], files: Record<string, string>) {
  const directory = await temporaryDirectory(t);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  return directory;
}

/** Plans a list; the daemon has the pid 1000. */
async function plan(
  list: unknown,
  listeners: Listener[] = [],
  only?: string[],
  { shell = {}, wanted = [] }: { shell?: Record<string, string>; wanted?: string[] } = {},
) {
  const { apps } = appsOf(parse(list));
  const ports = findPorts(apps, {
    listeners,
    daemon: 1000,
    parentOf: (pid) => ({ 31: 30, 30: 1000, 1000: 1 })[pid],
  });
  return planImport(apps, {
    ports,
    homes: ['/home/me'],
    only,
    shell: [new Map(Object.entries(shell))],
    wanted,
  });
}

test('instances of a script become one app, and an app without a port becomes its background process', async (t) => {
  const directory = await project(t, { 'package.json': '{}', 'server.js': '', 'jobs/mail.js': '' });
  const cluster = {
    exec_mode: 'cluster_mode',
    env: { PORT: '3000', DB: 'secret' },
    max_memory_restart: 209_715_200,
  };
  const { apps, leftOut } = await plan(
    [
      listed('My Shop', directory, { ...cluster, pid: 11, pm_id: 0 }),
      listed('My Shop', directory, { ...cluster, pid: 12, pm_id: 1, kill_timeout: '3000' }),
      listed('mail', directory, {
        ...{
          pid: 30,
          pm_id: 2,
          pm_exec_path: `${directory}/jobs/mail.js`,
          args: ['--to', "it's me"],
          kill_timeout: 9000,
        },
      }),
      listed('old', directory, { status: 'stopped' }),
      listed('pm2-logrotate', directory, { pmx_module: true }),
    ],
    [listener(3000, 1000), listener(22, 7)],
  );
  assert.deepEqual(leftOut, [{ name: 'old', reason: 'does not run in PM2 (import it with --app old)' }]);
  assert.equal(apps.length, 1);
  const [app] = apps;
  assert.equal(app?.name, 'my-shop');
  assert.deepEqual(app?.port, { port: 3000, ports: [3000], hosts: ['::'] });
  assert.deepEqual(app?.variables, { DB: 'secret' });
  assert.deepEqual(app?.web?.ids, [0, 1]);
  assert.deepEqual(app?.settings, {
    ...{
      start: 'node server.js',
      workers: 2,
      node: '20',
      stopSignal: 'SIGINT',
      pm2Variables: true,
      maxMemory: '200M',
    },
    processes: {
      mail: { command: "node jobs/mail.js --to 'it'\\''s me'", maxMemory: false, killTimeout: 9000 },
    },
  });
  assert.ok(v.safeParse(appSettingsSchema, app?.settings).success);
});

test('options of a process become settings that Sluice accepts', async (t) => {
  const directory = await project(t, { 'package.json': '{"engines":{"node":">=18"}}', 'server.js': '' });
  const { apps } = await plan([
    listed('web', directory, {
      ...{
        exec_mode: 'cluster_mode',
        node_args: ['--max-old-space-size=200'],
        args: 'a b',
        wait_ready: true,
      },
      ...{ listen_timeout: 8000, kill_timeout: 3000, max_restarts: 5, min_uptime: 2000, restart_delay: 500 },
      ...{
        autorestart: false,
        stop_exit_codes: 3,
        cron_restart: '0 3 * * *',
        instance_var: 'N',
        increment_var: 'X',
      },
      ...{ shutdown_with_message: true, env: { N: 1, X: 5, FLAG: true } },
    }),
  ]);
  assert.deepEqual(apps[0]?.settings, {
    ...{
      start: 'node --max-old-space-size=200 server.js a b',
      workers: 1,
      stopSignal: 'SIGINT',
      pm2Variables: true,
    },
    ...{
      waitReady: true,
      bootTimeout: 8000,
      killTimeout: 3000,
      shutdownWithMessage: true,
      autorestart: false,
    },
    ...{ maxRestarts: 5, minUptime: 2000, restartDelay: 500, restartBackoff: false, stopExitCodes: [3] },
    ...{ cronRestart: '0 3 * * *', instanceVar: 'N', incrementVar: 'X' },
  });
  assert.ok(v.safeParse(appSettingsSchema, apps[0]?.settings).success);
  assert.deepEqual(apps[0]?.variables, { X: '5', FLAG: 'true' });
});

test('a file of PM2 in the project keeps its settings, and a sluice.json all', async (t) => {
  const files = { 'package.json': '{"engines":{"node":"20"}}', 'server.js': '', '.env': 'A=1\nB=2\n' };
  const ecosystem = await project(t, { ...files, 'ecosystem.config.js': 'module.exports = { name: "one" }' });
  const own = await project(t, { ...files, 'sluice.json': '{}' });
  const { apps } = await plan([listed('one', ecosystem, { env: { B: '3' } }), listed('two', own)]);
  assert.deepEqual(
    apps.map(({ settings, project }) => [settings, project.settingsFile]),
    [
      [undefined, 'ecosystem.config.js'],
      [undefined, 'sluice.json'],
    ],
  );
  // PM2's value is that of the process; dotenv does not replace it.
  assert.deepEqual(apps[0]?.variables, { A: '1', B: '3' });
});

test('a port that the code does not read from PORT becomes a setting', async (t) => {
  const settingsOf = async (source: string, env: Record<string, string> = {}, file: string[] = []) => {
    const directory = await project(t, {
      ...{ 'package.json': '{"engines":{"node":"20"}}', 'server.js': source },
      ...Object.fromEntries(file.map((name) => [name, 'module.exports = { name: "web" }'])),
    });
    const list = [listed('web', directory, { pid: 11, env })];
    return (await plan(list, [listener(3717, 11)])).apps[0]?.settings;
  };
  const fixed = "require('node:http').createServer().listen(3717);";
  assert.equal((await settingsOf(fixed))?.['port'], 3717);
  assert.deepEqual(await settingsOf(fixed, {}, ['ecosystem.config.js']), { port: 3717 });
  const own = 'const port = process.env.API_PORT; require("./app").listen(port);';
  assert.equal((await settingsOf(own, { API_PORT: '3717' }))?.['port'], 3717);
  assert.equal((await settingsOf(own))?.['port'], undefined);
  const usual = 'require("./app").listen(process.env.PORT || 3717);';
  assert.equal((await settingsOf(usual))?.['port'], undefined);
  assert.equal(await settingsOf(usual, {}, ['ecosystem.config.js']), undefined);
});

test('of a file of PM2 with two apps that listen, each app reads its own part', async (t) => {
  const file = 'module.exports = { apps: [{ name: "api" }, { name: "web" }, { name: "jobs" }] };';
  const directory = await project(t, {
    'package.json': '{"engines":{"node":"20"}}',
    'ecosystem.config.js': file,
  });
  const list = ['api', 'web', 'jobs'].map((name, index) => listed(name, directory, { pid: 11 + index }));
  const { apps } = await plan(list, [listener(4000, 11), listener(4001, 12)]);
  assert.deepEqual(
    apps.map(({ settings }) => settings),
    [
      { start: 'pm2 start ecosystem.config.js --only api,jobs' },
      { start: 'pm2 start ecosystem.config.js --only web' },
    ],
  );
  // The file is for other apps.
  const { apps: others } = await plan([listed('other', directory)]);
  assert.equal(others[0]?.settings?.['workers'], 0);
});

test('of a file of PM2, only the apps that are imported start', async (t) => {
  const file = 'module.exports = { apps: [{ name: "shop" }, { name: "jobs" }] };';
  const manifest = '{"engines":{"node":"20"}}';
  const directory = await project(t, { 'package.json': manifest, 'ecosystem.config.js': file });
  const list = [listed('shop', directory, { pid: 11 }), listed('jobs', directory, { pid: 12 })];
  const settingsOf = async (only?: string[]) =>
    (await plan(list, [listener(4000, 11)], only)).apps.map(({ settings }) => settings);
  assert.deepEqual(await settingsOf(), [undefined]);
  assert.deepEqual(await settingsOf(['shop']), [{ start: 'pm2 start ecosystem.config.js --only shop' }]);
  assert.deepEqual(await settingsOf(['jobs']), [
    { start: 'pm2 start ecosystem.config.js --only jobs', workers: 0 },
  ]);
});

test('variables that a file in the repository sets stay in the file', async (t) => {
  const file = `module.exports = { apps: [{ name: 'web', env: { MODE: 'fast', "LEVEL": 3, KEY: process.env.KEY, URL: 'a.b' } }] };`;
  const directory = await project(t, { 'package.json': '{}', 'ecosystem.config.js': file });
  const env = { MODE: 'fast', LEVEL: 3, KEY: 'secret', URL: 'axb', web: '{}' };
  const { apps } = await plan([listed('web', directory, { pid: 11, env })], [listener(80, 11)]);
  assert.deepEqual(apps[0]?.variables, { KEY: 'secret', URL: 'axb' });
  await writeFile(join(directory, 'ecosystem.config.js'), `${file} // env_staging: {}`);
  const { apps: again } = await plan([listed('web', directory, { pid: 11, env })], [listener(80, 11)]);
  assert.deepEqual(Object.keys(again[0]?.variables ?? {}), ['MODE', 'LEVEL', 'KEY', 'URL']);
});

/** Returns the names of the variables that an import sets for an app beside a file of PM2. */
async function variablesBeside(
  t: Parameters<typeof temporaryDirectory>[0],
  [file, text]: [string, string],
  env: Record<string, string>,
): Promise<string[]> {
  const directory = await project(t, { 'package.json': '{}', [file]: text });
  const { apps } = await plan([listed('web', directory, { pid: 11, env })], [listener(80, 11)]);
  return Object.keys(apps[0]?.variables ?? {});
}

test('a variable that a file may not set for the app is not lost', async (t) => {
  const huge = 'x'.repeat(60 * 1024);
  const cases: [string, Record<string, string>, string[]][] = [
    [`{ name: 'web', env: { HUGE: '${huge}' } }`, { HUGE: huge }, ['HUGE']],
    [`{ name: 'web' } // MODE: 'fast'`, { MODE: 'fast' }, ['MODE']],
    [`{ name: 'web' } /* env: { MODE: 'fast', } */`, { MODE: 'fast' }, ['MODE']],
    [`[{ name: 'web' }, { name: 'b', env: { MODE: 'fast' } }]`, { MODE: 'fast' }, ['MODE']],
    [`[{ name: 'b', env: { TO: 'web', MODE: 'fast' } }, { name: 'web' }]`, { MODE: 'fast' }, ['MODE']],
    [`{ name: 'web', env: { EMPTY: process.env.X } }`, { EMPTY: '' }, ['EMPTY']],
    [`{ name: 'web', env: { API_TOKEN: 'abc' } }`, { API_TOKEN: 'abc' }, ['API_TOKEN']],
    [`{ name: 'web', env: { MODE: 'a' }, env_production: { MODE: 'b' } }`, { MODE: 'a' }, ['MODE']],
    [`{ name: 'web', env: { MODE: 'a' + x } }`, { MODE: 'a' }, ['MODE']],
    // These are set.
    [`[{ name: 'b' }, { name: 'web', env: { MODE: 'fast', N: 1 } }]`, { MODE: 'fast', N: '1' }, []],
    [`{ name: 'web', env: { URL: 'http://a/b' /* x */ } }`, { URL: 'http://a/b' }, []],
  ];
  for (const [text, env, expected] of cases) {
    const file: [string, string] = ['ecosystem.config.js', `module.exports = ${text}`];
    assert.deepEqual(await variablesBeside(t, file, env), expected, text.slice(0, 200));
  }
  const yaml = (text: string): [string, string] => ['ecosystem.config.yml', `apps:\n  - name: web\n${text}`];
  const env = { MODE: 'fast' };
  assert.deepEqual(await variablesBeside(t, yaml('    env:\n      MODE: fast\n'), env), []);
  assert.deepEqual(await variablesBeside(t, yaml('    env:\n      MODE: fast lane\n'), env), ['MODE']);
  assert.deepEqual(await variablesBeside(t, yaml('    # MODE: fast\n'), env), ['MODE']);
});

test('a file of PM2 names an app only as a whole', async (t) => {
  const settingsBeside = async (app: string, file: string, text: string) => {
    const directory = await project(t, { 'package.json': '{"engines":{"node":"20"}}', [file]: text });
    return (await plan([listed(app, directory)])).apps[0]?.settings;
  };
  const js = 'module.exports = { apps: [{ name: "web-api", script: "app.js" }] };';
  for (const app of ['app', 'api', 'web', 'name'])
    assert.equal((await settingsBeside(app, 'ecosystem.config.js', js))?.['workers'], 0, app);
  assert.equal(await settingsBeside('web-api', 'ecosystem.config.js', js), undefined);
  const yaml = 'apps:\n  - name: web api # ours\n  - script: a.js\n    name: api\n';
  assert.equal(await settingsBeside('api', 'ecosystem.config.yml', yaml), undefined);
  assert.equal((await settingsBeside('web', 'ecosystem.config.yml', yaml))?.['workers'], 0);
});

test('two apps of one repository that listen become two apps', async (t) => {
  const repository = await project(t, {
    ...{ '.git/HEAD': '', 'ecosystem.config.js': '', 'api/package.json': '{}', 'api/server.js': '' },
    ...{ 'web/package.json': '{}', 'web/server.js': '' },
  });
  const { apps } = await plan(
    [
      listed('api', join(repository, 'api'), { pid: 11 }),
      listed('web', join(repository, 'web'), {
        pid: 12,
        exec_interpreter: 'none',
        pm_exec_path: '/usr/bin/npm',
        args: ['start'],
      }),
    ],
    [listener(4000, 11, '127.0.0.1'), listener(4001, 12)],
  );
  assert.deepEqual(
    apps.map(({ name, project: { root }, port }) => [name, root, port?.port]),
    [
      ['api', repository, 4000],
      ['web', repository, 4001],
    ],
  );
  assert.equal(apps[0]?.settings?.['directory'], 'api');
  assert.equal(apps[1]?.settings?.['start'], 'npm start');
});

test('an app in another directory of the repository becomes a process there', async (t) => {
  const repository = await project(t, {
    ...{ '.git/HEAD': '', 'api/package.json': '{}', 'api/server.js': '' },
    ...{ 'jobs/package.json': '{}', 'jobs/server.js': '' },
  });
  const { apps } = await plan(
    [
      listed('jobs', join(repository, 'jobs'), { pid: 12 }),
      listed('api', join(repository, 'api'), { pid: 11 }),
    ],
    [listener(4000, 11)],
  );
  assert.equal(apps.length, 1);
  assert.equal(apps[0]?.settings?.['directory'], 'api');
  assert.deepEqual(apps[0]?.settings?.['processes'], { jobs: { command: 'cd ../jobs && node server.js' } });
});

test('an app whose script is outside of its repository is left out, with the reason', async (t) => {
  const directory = await project(t, { 'package.json': '{}', 'server.js': '' });
  const { apps, leftOut } = await plan([
    listed('odd', directory, { exec_interpreter: 'python3', pm_exec_path: '/usr/lib/node_modules/x/y.js' }),
    listed('fine', directory),
  ]);
  assert.deepEqual(apps, []);
  assert.deepEqual(
    leftOut.map(({ name }) => name),
    ['odd', 'fine'],
  );
  assert.match(leftOut[0]?.reason ?? '', /outside of the release/);
});

test('apps without a port become an app without workers', async (t) => {
  const directory = await project(t, { 'package.json': '{}', 'server.js': '' });
  const { apps } = await plan([listed('bot', directory, { pid: 40 })]);
  assert.equal(apps[0]?.web, undefined);
  assert.equal(apps[0]?.settings?.['workers'], 0);
  assert.deepEqual(apps[0]?.settings?.['processes'], { bot: { command: 'node server.js' } });
});

test('the port of an app is that of its process, of a child, or of the daemon', () => {
  const apps = (...list: unknown[]) => appsOf(parse(list)).apps;
  const found = (all: Pm2App[], listeners: Listener[]) => {
    const ports = findPorts(all, { listeners, daemon: 1000, parentOf: (pid) => ({ 31: 30, 30: 1000 })[pid] });
    return all.map((app) => ports.get(app)?.port);
  };
  const cluster = { exec_mode: 'cluster_mode' };
  const fork = apps(listed('a', '/srv/a', { pid: 30 }));
  assert.deepEqual(found(fork, [listener(80, 30)]), [80]);
  assert.deepEqual(found(fork, [listener(81, 31), listener(82, 99)]), [81]);
  const two = apps(
    listed('a', '/srv/a', { ...cluster, pid: 5, env: { PORT: 3001 } }),
    listed('b', '/srv/b', { ...cluster, pid: 6 }),
  );
  assert.deepEqual(found(two, [listener(3000, 1000), listener(3001, 1000)]), [3001, 3000]);
  // Which of two ports belongs to which of two apps cannot be known.
  const unknown = apps(
    listed('a', '/srv/a', { ...cluster, pid: 5 }),
    listed('b', '/srv/b', { ...cluster, pid: 6 }),
  );
  assert.deepEqual(found(unknown, [listener(3000, 1000), listener(3001, 1000)]), [undefined, undefined]);
});

test('a directory that is a home has no app of its own', async () => {
  const { apps, leftOut } = await plan([listed('a', '/home/me')]);
  assert.deepEqual(apps, []);
  assert.match(leftOut[0]?.reason ?? '', /^\/home\/me has no code of its own/);
});

test('the list may be a dump, or have lines of PM2 before it', () => {
  const [process] = parse([listed('a', '/srv/a', { pm_id: 3 })]);
  assert.equal(process?.pm_id, 3);
  const { pm2_env: dumped } = listed('a', '/srv/a');
  assert.equal(parse([dumped])[0]?.name, 'a');
  const printed = `[PM2] Spawning PM2 daemon with pm2_home=/x\n${JSON.stringify([listed('a', '/srv/a')])}\n`;
  assert.equal(parseProcessList(printed, 'x')[0]?.name, 'a');
});

test('a hostile list is refused without its values', () => {
  const one = listed('a', '/srv/a', { env: { TOKEN: 'hunter2' } });
  const broken: [string, RegExp][] = [
    ['', /it is not JSON/],
    ['{"a": "hunter2"}', /expected a list of processes/],
    ['[1]', /expected a process/],
    [
      JSON.stringify([{ ...one, pm2_env: { ...one.pm2_env, pm_cwd: '../hunter2' } }]),
      /pm_cwd: expected an absolute path/,
    ],
    [JSON.stringify([{ ...one, name: 'a\u001b[2Jhunter2' }]), /name: expected a text/],
    [JSON.stringify(Array(1001).fill(one)), /expected at most 1000 processes/],
    ['['.repeat(100_000), /it is not JSON/],
    [' '.repeat(33 * 1024 ** 2), /more than 32 MiB/],
  ];
  for (const [text, expected] of broken)
    assert.throws(
      () => parseProcessList(text, 'the list'),
      (error: Error) => {
        assert.match(error.message, expected);
        assert.doesNotMatch(error.message, /hunter2/);
        return true;
      },
    );
  const odd = {
    __proto__: null,
    kill_timeout: {},
    args: { length: 3 },
    exec_mode: 'x',
    stop_exit_codes: 'x',
    watch: {},
  };
  const [process] = parse([listed('a', '/srv/a', odd)]);
  assert.equal(process?.kill_timeout, undefined);
  assert.equal(process?.exec_mode, undefined);
});

test('variables of the shell, of PM2 and of Sluice are not variables of the app', () => {
  const foreign = [
    'PATH',
    'HOME',
    'SSH_CLIENT',
    'SSH_AUTH_SOCK',
    'LS_COLORS',
    'TERM',
    'TERM_PROGRAM',
    'XDG_RUNTIME_DIR',
    'LC_ALL',
  ];
  const more = [
    'SUDO_USER',
    'NVM_DIR',
    'PM2_HOME',
    'pm_id',
    'npm_config_x',
    'unique_id',
    'NODE_APP_INSTANCE',
    'PORT',
    'SLUICE_HOME',
    '_',
    'a-b',
  ];
  for (const name of [...foreign, ...more]) assert.ok(isForeign(name), name);
  for (const name of [
    'DATABASE_URL',
    'NODE_ENV',
    'NODE_OPTIONS',
    'TZ',
    'HOST',
    'TERMS',
    'PATHS',
    'SSHKEY',
    'name_of',
  ])
    assert.ok(!isForeign(name), name);
  assert.deepEqual(appVariables({ A: 1, B: true, C: null, D: {}, E: ['x'], F: 'f', G: 'x' }, 'G'), {
    A: '1',
    B: 'true',
    F: 'f',
  });
});

test('an app keeps variables whose names only look like those of the shell', () => {
  const own = {
    ...{
      SCREENSHOT_API_KEY: 'k',
      LESSON_DB: 'db',
      TERM_OF_SERVICE_URL: 'u',
      CARGO_API_KEY: 'k',
      GPG_KEY: 'k',
    },
    ...{ SSH_HOST: 'h', SSH_PRIVATE_KEY: 'k', SUDO: '1', WINDOW: '3', QT_PRICE: '3', LC_ID: '9', TEMP: '3' },
    ...{ STATE_DIRECTORY_X: '1', ZSHARD: '1', TMUXED: '1', LANGUAGE: 'de', NPM_TOKEN: 't' },
    ...{ MAIL: 'smtp://a', USERNAME: 'dbuser', HOSTNAME: '0.0.0.0' },
  };
  assert.deepEqual(appVariables({ ...own, USER: 'deploy' }), own);
  const ofMachine = { USER: 'deploy', USERNAME: 'deploy', MAIL: '/var/mail/deploy', HOSTNAME: hostname() };
  assert.deepEqual(appVariables(ofMachine), {});
});

test('of a file .env, only what PM2 or Sluice sets is left out, and the plan names it', async (t) => {
  const own = {
    ...{ HOSTNAME: '0.0.0.0', USERNAME: 'dbuser', MAIL: '/var/mail/x', TMPDIR: '/data/tmp', LANG: 'C' },
    ...{ SSH_CLIENT: 'a', TERM: 'x', XDG_DATA_HOME: '/data', npm_config_x: '1', NPM_TOKEN: 't' },
  };
  const assigned = {
    PORT: '3000',
    HOME: '/x',
    NODE_APP_INSTANCE: '0',
    PM2_X: '1',
    SLUICE_APP: 'x',
    'a.b': '1',
  };
  const env = Object.entries({ ...own, ...assigned }).map(([name, value]) => `${name}=${value}`);
  const directory = await project(t, { 'package.json': '{}', 'server.js': '', '.env': env.join('\n') });
  const [app] = (await plan([listed('web', directory)])).apps;
  assert.deepEqual(app?.variables, own);
  assert.ok(
    app?.notes.some((note) =>
      note.startsWith('HOME, NODE_APP_INSTANCE, PM2_X, SLUICE_APP, a.b in .env: left out'),
    ),
    app?.notes.join('\n'),
  );
});

test('a variable of the machine is left out if no file of the app names it', async (t) => {
  const shell = {
    ...{ CURL_CA_BUNDLE: '/etc/ca.pem', PIP_CERT: '/etc/ca.pem', RUST_BACKTRACE: '1', CONTAINER_NAME: 'c1' },
    // Files of the app or its packages name these.
    ...{ DB_URL: 'db', SHOP_MODE: 'fast', PGHOST: 'db', FROM_ENV_FILE: '1', FROM_FILE: '1' },
    // No file needs to name these.
    ...{ NODE_EXTRA_CA_CERTS: '/etc/ca.pem', TZ: 'UTC', https_proxy: 'http://p', DATABASE__HOST: 'db' },
    ...{
      SSL_CERT_FILE: '/etc/ca.pem',
      LD_PRELOAD: '/usr/lib/x.so',
      STRIPE_KEY: 'secret',
      CACHE: 'redis://u:p@host',
    },
  };
  const directory = await project(t, {
    ...{ 'package.json': '{}', '.env': 'FROM_ENV_FILE=1\n', 'server.js': 'const { DB_URL } = process.env;' },
    'lib/mode.ts': "process.env['SHOP_' + name]; // NO_CONTAINER_NAME, CONTAINER_NAMES",
    'ecosystem.config.js': 'module.exports = { name: "other", env: { FROM_FILE: process.env.FROM_FILE } };',
    'node_modules/pg/lib/defaults.js': 'host = process.env.PGHOST; /* CONTAINER_NAME */ PIP_CERT = 1;',
    'node_modules/pg/README.md': 'RUST_BACKTRACE',
    '.git/config': 'RUST_BACKTRACE',
  });
  const list = [listed('web', directory, { env: { ...shell, OWN: 'x', MODE: 'a' } })];
  const [app] = (await plan(list, [], undefined, { shell: { ...shell, MODE: 'b' } })).apps;
  const left = ['CONTAINER_NAME', 'CURL_CA_BUNDLE', 'PIP_CERT', 'RUST_BACKTRACE'];
  assert.deepEqual(app?.ofMachine, left);
  const expected = Object.keys({ ...shell, OWN: 'x', MODE: 'a' }).filter((name) => !left.includes(name));
  assert.deepEqual(Object.keys(app?.variables ?? {}).sort(), expected.sort());
  const [again] = (await plan(list, [], undefined, { shell, wanted: ['PIP_CERT'] })).apps;
  assert.equal(again?.variables['PIP_CERT'], '/etc/ca.pem');
  assert.ok(!again?.ofMachine.includes('PIP_CERT'));
});

test('a variable belongs to the apps if one of them has a value of its own, or if their project is too large', async (t) => {
  const directory = await project(t, { 'package.json': '{}', 'server.js': '', 'more.js': '' });
  const [app] = (
    await plan(
      [
        listed('a', directory, { env: { X: '1', Y: '1' } }),
        listed('b', directory, { env: { X: '2', Y: '1' } }),
      ],
      [],
      undefined,
      { shell: { X: '1', Y: '1' } },
    )
  ).apps;
  assert.deepEqual(app?.ofMachine, ['Y']);
  // Another app with other code, and one in the same directory.
  const other = await project(t, { 'package.json': '{}', 'server.js': '' });
  const copied = { env: { X: '1', Z: '1' } };
  const { apps } = await plan([
    listed('a', directory, copied),
    listed('far', other, { env: { X: '1' } }),
    listed('near', directory, { ...copied, status: 'stopped' }),
  ]);
  assert.deepEqual(apps[0]?.ofMachine, ['X']);
  const [one, many] = [2, 100].map((entries) => ({ entries, bytes: 1000, bytesEach: 1000 }));
  assert.ok(one && many);
  assert.deepEqual([...namedInFiles(directory, ['Y'], { project: one, packages: many })], ['Y']);
  assert.deepEqual([...namedInFiles(directory, ['Y'], { project: many, packages: many })], []);
});

test('a variable belongs to the apps if a file that may name it cannot be searched', async (t) => {
  const outside = await project(t, { 'pg/index.js': '', 'mode.js': '', 'logo.png': '' });
  const limit = { entries: 20, bytes: 1000, bytesEach: 100 };
  const search = async (
    files: Record<string, string>,
    { links = {}, packages = limit }: { links?: Record<string, string>; packages?: typeof limit } = {},
  ) => {
    const directory = await project(t, { 'server.js': '', 'node_modules/pg/index.js': '', ...files });
    for (const [path, target] of Object.entries(links)) await symlink(target, join(directory, path));
    return [...namedInFiles(directory, ['Y'], { project: limit, packages })];
  };
  const inPackages = (count: number, size: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, at) => [`node_modules/pg/${at}.js`, ' '.repeat(size)]),
    );
  const searched = {
    nothing: search({}),
    'an image of any size': search({ 'logo.png': ' '.repeat(101), 'node_modules/pg/a.txt': ' '.repeat(101) }),
    'links inside': search(
      {},
      { links: { 'node_modules/a': 'pg', all: '.', lib: 'node_modules/pg', main: 'server.js' } },
    ),
    'links to nothing, and to an image': search(
      {},
      { links: { gone: 'nowhere', circle: 'circle', 'a.png': `${outside}/logo.png` } },
    ),
  };
  for (const [what, names] of Object.entries(searched)) assert.deepEqual(await names, [], what);
  const unsearched = {
    'many files in node_modules': search(inPackages(20, 0)),
    'a large file in node_modules': search(inPackages(1, 101)),
    'large files in node_modules': search(inPackages(11, 100)),
    'a large file': search({ 'bundle.js': ' '.repeat(101) }),
    'large files': search(
      Object.fromEntries(Array.from({ length: 11 }, (_, at) => [`${at}.js`, ' '.repeat(100)])),
    ),
    'a package that is a link': search({}, { links: { 'node_modules/linked': `${outside}/pg` } }),
    'a directory that is a link': search({}, { links: { lib: outside } }),
    'a file that is a link': search({}, { links: { 'mode.js': `${outside}/mode.js` } }),
    'a file in .git': search({ '.git/mode': '' }, { links: { 'mode.js': '.git/mode' } }),
  };
  for (const [what, names] of Object.entries(unsearched)) assert.deepEqual(await names, ['Y'], what);
});

test('variables of packages that are a link out of the project belong to the app', async (t) => {
  const shared = await project(t, { 'node_modules/pg/index.js': 'process.env.PGHOST' });
  const directory = await project(t, { 'package.json': '{}', 'server.js': '' });
  await symlink(`${shared}/node_modules`, join(directory, 'node_modules'));
  const env = { PGHOST: 'db' };
  const [app] = (await plan([listed('web', directory, { env })], [], undefined, { shell: env })).apps;
  assert.equal(app?.variables['PGHOST'], 'db');
});

import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { type DeployPlan, planDeploy } from '../../../src/build/plan.ts';
import { evaluateIn } from '../../../src/cli/preview/evaluate.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { writeTree } from '../../support/tree.ts';

const listening = `require('http').createServer().listen(process.env.PORT);`;

/** Plans a deploy of an app with a file of PM2. */
async function planOf(
  t: TestContext,
  files: Record<string, unknown>,
  { environment = 'production', isInstalled = false, runsIn = '/srv/release', assignedPort = 9001 } = {},
): Promise<DeployPlan> {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, files);
  const nodes = { own: '26.8.2', list: async () => ['18.20.8', '22.11.0'] };
  const evaluate = evaluateIn(directory, { NODE_ENV: environment });
  const facts = { nodes, cores: 4, environment, evaluate, isInstalled, runsIn, assignedPort };
  return await planDeploy(directory, facts);
}

function exportsOf(...apps: unknown[]): string {
  return `module.exports = ${JSON.stringify({ apps })}`;
}

/** Returns a plan in short: its start, the settings that are not defaults, and the codes of its notices. */
function inShort({ description, settings, origins, workers, notices }: DeployPlan) {
  const { processes } = settings;
  return {
    start: description.replace(/^starts (?:with )?/, '').replace(/ \(.*/, ''),
    workers: workers.count,
    env: (settings as { env?: unknown }).env ?? {},
    origins: [...new Set(Object.values(origins))],
    processes: Object.fromEntries(
      Object.entries(processes).map(([name, { command, count }]) => [name, `${count} × ${command}`]),
    ),
    notices: notices.map(({ code }) => code),
  };
}

suite('the command of an app in a file of PM2', () => {
  const files: Record<string, unknown> = {
    'server.js': listening,
    'server/index.js': listening,
    'run.sh': '',
    'work.py': '',
    'bin/tool': '',
    'package.json': { scripts: { serve: 'node server.js' }, dependencies: { next: '15' } },
    'node_modules/next/package.json': { name: 'next', bin: { next: 'cli.js' } },
    'node_modules/next/cli.js': '',
  };
  const cases: [options: Record<string, unknown>, start: string][] = [
    [{ script: './server.js' }, 'node server.js'],
    [{ exec: 'server.js' }, 'node server.js'],
    [{ script: 'server.js', args: '-p 80 "a b"' }, `node server.js -p 80 'a b'`],
    [{ script: 'server.js', args: ['-p', 80, 'a b', '$HOME'] }, `node server.js -p 80 'a b' '$HOME'`],
    [{ script: 'server.js', node_args: '--trace-warnings' }, 'node --trace-warnings server.js'],
    [{ script: 'server.js', nodeArgs: ['-r', 'x'] }, 'node -r x server.js'],
    [{ script: 'server.js', interpreterArgs: '--trace-warnings' }, 'node --trace-warnings server.js'],
    [{ script: 'server.js', source_map_support: true }, 'node --enable-source-maps server.js'],
    [{ script: 'server.js', interpreter: 'node' }, 'node server.js'],
    [{ script: 'server.js', interpreter: '/usr/bin/nodejs' }, 'node server.js'],
    [{ script: 'server.js', interpreter: 'ts-node' }, 'ts-node server.js'],
    [{ script: 'server.js', interpreter: './node_modules/.bin/tsx' }, 'tsx server.js'],
    [{ script: 'bin/tool', interpreter: 'none' }, 'bin/tool'],
    [{ script: 'run.sh' }, 'bash run.sh'],
    [{ script: './work.py' }, 'python3 work.py'],
    [{ script: 'work.py', interpreter: 'python3.12' }, 'python3.12 work.py'],
    [{ script: 'npm', args: 'run serve' }, 'npm run serve'],
    [{ script: '/usr/bin/npm', args: 'run serve' }, 'npm run serve'],
    [{ script: 'npm run serve -- -x' }, 'npm run serve -- -x'],
    [{ script: './node_modules/.bin/next', args: 'start' }, 'next start'],
    [{ script: 'node_modules/next/cli.js', args: 'start' }, 'node node_modules/next/cli.js start'],
    [{ script: 'index.js', cwd: './server' }, 'cd server && node index.js'],
    [{ script: '/home/me/shop/server/index.js', cwd: '/home/me/shop/server/' }, 'cd server && node index.js'],
    [{ script: '/home/me/shop/server.js' }, 'node server.js'],
    [{ script: 'server.js', cwd: '/var/www/shop' }, 'node server.js'],
    [{ script: './server/index.js', cwd: '/var/www/shop/current/' }, 'node server/index.js'],
    [{ script: 'index.js', cwd: '/var/www/server' }, 'cd server && node index.js'],
  ];
  for (const [options, start] of cases) {
    test(JSON.stringify(options), async (t) => {
      // Only the command of a background process is in the settings.
      const web = { name: 'web', script: 'server.js' };
      const apps = exportsOf(web, { name: 'other', ...options });
      const { settings } = await planOf(t, { ...files, 'ecosystem.config.js': apps });
      assert.equal(settings.processes['other']?.command, start);
    });
  }

  test('is relative to the file, also if the file computes absolute paths', async (t) => {
    const text = `const path = require('path');
      module.exports = { apps: [{ script: path.join(__dirname, 'server', 'index.js'), cwd: path.resolve('server'),
        args: path.join(__dirname, 'x'), env: { DIR: __dirname, HERE: process.cwd() + '/y' } }] };`;
    const plan = await planOf(t, { ...files, 'ecosystem.config.js': text, 'package.json': {} });
    assert.equal(inShort(plan).start, 'server/index.js');
    assert.deepEqual(plan.start.candidates[0]?.command?.args, ['/srv/release/x']);
    assert.deepEqual(inShort(plan).env, { DIR: '/srv/release', HERE: '/srv/release/y' });
  });

  test('is rejected with the next step if its file is outside of the release', async (t) => {
    for (const app of [
      { script: '../x.js' },
      { script: '/opt/other.js' },
      { script: 'server.js', cwd: '..' },
    ]) {
      await assert.rejects(planOf(t, { ...files, 'ecosystem.config.js': exportsOf(app) }), {
        code: 'invalid_pm2_file',
        message: /^ecosystem\.config\.js has "(?:script|cwd)": ".+", which is outside of the release$/,
        hint: /relative to the file/,
      });
    }
  });
});

suite('the settings of a file of PM2', () => {
  const cases: [options: Record<string, unknown>, settings: Record<string, unknown>][] = [
    [{}, { workers: 1, stopSignal: 'SIGINT', pm2Variables: true, killTimeout: 5000, waitReady: false }],
    [{ instances: 3 }, { workers: 3 }],
    [{ instances: '2' }, { workers: 2 }],
    [{ instances: 'max' }, { workers: 'max' }],
    [{ instances: 0 }, { workers: 'max' }],
    [{ instances: -1 }, { workers: -1 }],
    [{ instances: 100 }, { workers: 64 }],
    [{ exec_mode: 'cluster' }, { workers: 1 }],
    [
      { wait_ready: true, listen_timeout: 8000 },
      { waitReady: true, bootTimeout: 8000 },
    ],
    [
      { waitReady: true, listenTimeout: '8000' },
      { waitReady: true, bootTimeout: 8000 },
    ],
    [{ kill_timeout: 3000 }, { killTimeout: 3000 }],
    [{ shutdown_with_message: true }, { shutdownWithMessage: true }],
    [{ max_memory_restart: '300M' }, { maxMemory: 300 * 1024 ** 2 }],
    [{ maxMemoryRestart: '1G' }, { maxMemory: 1024 ** 3 }],
    [{ max_memory_restart: 2e8 }, { maxMemory: 2e8 }],
    [{ max_memory_restart: '10M' }, { maxMemory: 32 * 1024 ** 2 }],
    [{ autorestart: false }, { autorestart: false }],
    [
      { max_restarts: 5, min_uptime: '10s' },
      { maxRestarts: 5, minUptime: 10_000 },
    ],
    [{ min_uptime: 2000 }, { minUptime: 2000 }],
    [{ restart_delay: 4000 }, { restartDelay: 4000, restartBackoff: false }],
    [{ exp_backoff_restart_delay: 50 }, { restartDelay: 50, restartBackoff: true }],
    [{ stop_exit_codes: [0, 7] }, { stopExitCodes: [0, 7] }],
    [{ stop_exit_codes: 0 }, { stopExitCodes: [0] }],
    [{ cron_restart: '0 3 * * *' }, { cronRestart: { schedule: '0 3 * * *', timezone: null } }],
    [{ cron: '0 3 * * *' }, { cronRestart: { schedule: '0 3 * * *', timezone: null } }],
    [{ cron_restart: '0' }, { cronRestart: undefined }],
    [{ instance_var: 'INSTANCE_ID' }, { instanceVar: 'INSTANCE_ID' }],
    [{ increment_var: 'METRICS' }, { incrementVar: 'METRICS' }],
    [{ interpreter: 'node@18' }, { node: '18' }],
    [{ interpreter: '/home/me/.nvm/versions/node/v18.20.8/bin/node' }, { node: '18.20.8' }],
    [{ merge_logs: true, time: true, log_date_format: 'x', filter_env: ['A'] }, { workers: 1 }],
  ];
  for (const [options, expected] of cases) {
    test(JSON.stringify(options), async (t) => {
      const app = { name: 'web', script: 'server.js', ...options };
      const { settings, notices } = await planOf(t, {
        'server.js': listening,
        'ecosystem.config.js': exportsOf(app),
      });
      const found = Object.fromEntries(
        Object.keys(expected).map((name) => [name, settings[name as 'workers']]),
      );
      assert.deepEqual(found, expected);
      assert.deepEqual(notices, []);
    });
  }

  test('name what has no meaning in one notice', async (t) => {
    const app = {
      script: 'server.js',
      watch: true,
      ignore_watch: ['x'],
      out_file: 'x',
      error_file: 'y',
      future: 1,
    };
    const text = `module.exports = ${JSON.stringify({ apps: [app], deploy: { production: {} } })}`;
    const { notices } = await planOf(t, { 'server.js': listening, 'ecosystem.config.js': text });
    assert.deepEqual(
      notices.map(({ code, message }) => [code, message]),
      [
        [
          'pm2_options_ignored',
          '6 options of ecosystem.config.js have no meaning for Sluice: watch, ignore_watch, out_file, error_file, future, deploy',
        ],
      ],
    );
  });

  test('have the variables of the environment', async (t) => {
    const app = {
      script: 'server.js',
      env: {
        A: 1,
        B: true,
        C: null,
        D: { x: [1] },
        'my-name': 1,
        NODE_APP_INSTANCE: 5,
        PORT: 3000,
        NODE_ENV: 'x',
      },
      env_production: { A: 'production' },
      env_staging: { A: 'staging', E: 'e' },
    };
    const files = { 'server.js': listening, 'ecosystem.config.js': exportsOf(app) };
    const common = { B: 'true', C: 'null', D: '{"x":[1]}', NODE_ENV: 'x' };
    const production = await planOf(t, files);
    assert.deepEqual(inShort(production).env, { A: 'production', ...common });
    assert.equal(production.settings.port, undefined);
    assert.match(production.notices[0]?.message ?? '', /: env\.my-name, env\.NODE_APP_INSTANCE$/);
    const staging = await planOf(t, files, { environment: 'staging' });
    assert.deepEqual(inShort(staging).env, { A: 'staging', E: 'e', ...common });
    const other = await planOf(t, files, { environment: 'preview' });
    assert.deepEqual(inShort(other).env, { A: '1', ...common });
  });

  test('have the port if the code does not read PORT', async (t) => {
    const app = { script: 'server.js', env: { PORT: 3000 } };
    const server = 'server.listen(3000); metrics.listen(9000);';
    const { settings, notices } = await planOf(t, {
      ...{ 'server.js': server, 'ecosystem.config.js': exportsOf(app) },
    });
    assert.equal(settings.port, 3000);
    assert.ok(notices.every(({ code }) => code !== 'pm2_port_ignored'));
  });

  test('do not have the port of an app that reads PORT, with a note', async (t) => {
    for (const options of [{ port: 3715 }, { env: { PORT: '3715' } }]) {
      const app = { script: 'server.js', ...options };
      const files = { 'server.js': listening, 'ecosystem.config.js': exportsOf(app) };
      const { settings, notices } = await planOf(t, files);
      assert.equal(settings.port, undefined);
      assert.match(notices[0]?.message ?? '', /^Sluice ignores the port 3715 of ecosystem\.config\.js/);
      assert.match(notices[0]?.hint ?? '', /`sluice status`/);
      // After an import from PM2.
      assert.deepEqual((await planOf(t, files, { assignedPort: 3715 })).notices, []);
    }
  });

  test('are those of sluice.json first, and of package.json last', async (t) => {
    const app = { script: 'server.js', instances: 3, kill_timeout: 3000 };
    const plan = await planOf(t, {
      'server.js': listening,
      'ecosystem.config.js': exportsOf(app),
      'sluice.json': { workers: 2 },
      'package.json': { scripts: { start: 'node other.js' } },
      'other.js': listening,
    });
    const { workers, killTimeout } = plan.settings;
    assert.deepEqual([inShort(plan).start, workers, killTimeout], ['server.js', 2, 3000]);
    assert.deepEqual(
      [plan.origins['workers'], plan.origins['killTimeout']],
      ['sluice.json', 'ecosystem.config.js'],
    );
  });

  test('take precedence over "start" also if another script names the file', async (t) => {
    const scripts = { start: 'node other.js', 'start:prod': 'pm2-runtime shop.config.js --env production' };
    const plan = await planOf(t, {
      'server.js': listening,
      'other.js': listening,
      'package.json': { scripts },
      'shop.config.js': exportsOf({ script: 'server.js', env_production: { SHOP: '1' } }),
    });
    const { start, env } = inShort(plan);
    assert.deepEqual({ start, env }, { start: 'server.js', env: { SHOP: '1' } });
  });

  test('of a static site that PM2 serves', async (t) => {
    const app = {
      script: 'serve',
      env: { PM2_SERVE_PATH: './dist', PM2_SERVE_PORT: 80, PM2_SERVE_SPA: 'true' },
    };
    const { settings, site } = await planOf(t, {
      'dist/index.html': '',
      'pm2.json': JSON.stringify({ apps: app }),
    });
    assert.deepEqual(settings.static, { directory: 'dist', spa: true });
    assert.equal(site?.spa, true);
  });
});

suite('one app in a file of PM2 runs without a port', () => {
  const bot = `const { Client } = require('discord.js'); new Client().login(process.env.TOKEN);`;
  const manifest = { dependencies: { 'discord.js': '14' } };
  const cases: [what: string, options: object, files: Record<string, unknown>, workers: number][] = [
    ['a bot', {}, { 'main.js': bot }, 0],
    ['a timer', {}, { 'main.js': 'setInterval(() => {}, 1000)', 'package.json': {} }, 0],
    ['unless it listens', {}, { 'main.js': bot + listening }, 1],
    ['unless it has several processes', { instances: 2 }, { 'main.js': bot }, 2],
    ['unless sluice.json has workers', {}, { 'main.js': bot, 'sluice.json': { workers: 1 } }, 1],
  ];
  for (const [what, options, files, workers] of cases) {
    test(what, async (t) => {
      const app = { name: 'bot', script: 'main.js', kill_timeout: 3000, ...options };
      const plan = await planOf(t, {
        'ecosystem.config.js': exportsOf(app),
        'package.json': manifest,
        ...files,
      });
      assert.equal(plan.workers.count, workers);
      assert.deepEqual(
        plan.start.background.map(({ name }) => name),
        workers === 0 ? ['main'] : [],
      );
      assert.equal(plan.settings.killTimeout, 3000);
    });
  }
});

test('values that PM2 accepts and Sluice has not are left out or cut', async (t) => {
  const app = {
    ...{ script: 'server.js', stop_exit_codes: [0, -1, 256, '3', 1.5], kill_timeout: '400h', port: 0 },
  };
  const { settings } = await planOf(t, { 'server.js': listening, 'ecosystem.config.js': exportsOf(app) });
  assert.deepEqual(settings.stopExitCodes, [0, 3]);
  assert.equal(settings.killTimeout, 288 * 3_600_000);
  assert.equal(settings.port, undefined);
});

test('a long interpreter is rejected before anything searches it', async (t) => {
  const app = { script: 'server.js', interpreter: '/1'.repeat(40_000) };
  await assert.rejects(planOf(t, { 'server.js': listening, 'ecosystem.config.js': exportsOf(app) }), {
    code: 'invalid_pm2_file',
    message: /has "interpreter" of more than 4096 characters/,
  });
});

suite('several apps in a file of PM2', () => {
  const files = {
    'server.js': listening,
    'work.js': 'setInterval(() => {}, 1000)',
    'mail.sh': '',
    'api.js': listening,
  };
  const work = { name: 'Work er', script: 'work.js', instances: 2 };
  const server = { name: 'shop', script: 'server.js' };
  const cases: Record<string, [apps: object[], start: string]> = {
    'the one with a port': [
      [work, { name: 'a', script: 'api.js' }, { ...server, env: { PORT: 80 } }],
      'server.js',
    ],
    'the one with the option port': [[work, { ...server, port: 80 }], 'server.js'],
    'the one named web': [
      [
        { name: 'a', script: 'api.js' },
        { ...server, name: 'web' },
      ],
      'server.js',
    ],
    'the only one in cluster mode': [
      [
        { name: 'a', script: 'api.js' },
        { ...server, exec_mode: 'cluster' },
      ],
      'server.js',
    ],
    'the first that listens': [
      [{ ...work, instances: undefined }, server, { name: 'a', script: 'api.js' }],
      'server.js',
    ],
  };
  for (const [title, [apps, start]] of Object.entries(cases)) {
    test(`${title} serves requests`, async (t) => {
      const plan = await planOf(t, { ...files, 'ecosystem.config.js': exportsOf(...apps) });
      assert.equal(inShort(plan).start, start);
      assert.equal(Object.keys(plan.settings.processes).length, apps.length - 1);
    });
  }

  test('the others are background processes with their own settings', async (t) => {
    const web = {
      ...server,
      instances: 2,
      max_memory_restart: '300M',
      kill_timeout: 9000,
      env: { PORT: 80, A: 1 },
    };
    const mail = {
      name: 'mail',
      script: './mail.sh',
      env: { B: 2 },
      env_production: { B: 3 },
      autorestart: false,
    };
    const all = {
      name: 'all',
      script: 'work.js',
      instances: 'max',
      kill_timeout: 1000,
      cron_restart: '0 3 * * *',
    };
    const apps = exportsOf(work, mail, web, { ...work }, all, { ...work, name: 'off', autostart: false });
    const plan = await planOf(t, { ...files, 'ecosystem.config.js': apps });
    assert.deepEqual(inShort(plan).processes, {
      'work-er': '2 × node work.js',
      mail: '1 × bash mail.sh',
      'work-er-2': '2 × node work.js',
      all: '4 × node work.js',
      off: '0 × node work.js',
    });
    const { processes } = plan.settings;
    // Variables of another app are not those of this one.
    assert.deepEqual(processes['mail']?.env, { A: null, B: '3' });
    assert.deepEqual([processes['mail']?.killTimeout, processes['mail']?.maxMemory], [5000, false]);
    assert.equal(processes['mail']?.autorestart, false);
    assert.equal(processes['all']?.killTimeout, 1000);
    assert.deepEqual(processes['all']?.cronRestart, { schedule: '0 3 * * *', timezone: null });
  });

  test('a second one with a port gets its port, with a notice', async (t) => {
    const api = { name: 'api', script: 'api.js', env: { PORT: 81 } };
    const plan = await planOf(t, {
      ...files,
      'ecosystem.config.js': exportsOf({ ...server, env: { PORT: 80 } }, api),
    });
    assert.deepEqual(plan.settings.processes['api']?.env, { PORT: '81' });
    assert.match(
      plan.notices[0]?.message ?? '',
      /^shop of ecosystem\.config\.js gets the requests.*api \(81\)$/,
    );
  });
});

test('packages of apps in directories of their own are installed and built', async (t) => {
  const dependencies = { express: '5' };
  const plan = await planOf(t, {
    'ecosystem.config.js': exportsOf(
      { name: 'web', script: 'dist/index.js', cwd: './server', env: { PORT: 80 } },
      { name: 'jobs', script: './jobs/index.js' },
      { name: 'more', script: './jobs/lib/more.js' },
    ),
    'server/package.json': { dependencies, scripts: { build: 'tsc' } },
    'jobs/package.json': { dependencies },
    'jobs/index.js': '',
    'jobs/lib/more.js': '',
    'client/package.json': { dependencies },
  });
  assert.equal(inShort(plan).start, 'server/dist/index.js');
  assert.deepEqual(
    plan.packages.map(({ at, installs, scripts }) => [at, installs, scripts.map(({ name }) => name)]),
    [
      ['server', true, ['build']],
      ['jobs', true, []],
    ],
  );
});

suite('the file of PM2', () => {
  const server = { 'server.js': listening };
  const app = { script: 'server.js', instances: 2, env_prod: { A: 1 } };
  const start = (command: string) => ({ 'package.json': { scripts: { start: command } } });
  const cases: Record<string, [files: Record<string, unknown>, origins: string[]]> = {
    'ecosystem.config.cjs': [{ 'ecosystem.config.cjs': exportsOf(app) }, ['ecosystem.config.cjs']],
    'process.yml': [{ 'process.yml': 'apps:\n  script: server.js\n  instances: 2\n' }, ['process.yml']],
    'package.json': [{ 'package.json': { pm2: [app] } }, ['"pm2" in package.json']],
    'the file of a command': [
      {
        ...start('pm2-runtime start pm2/shop.config.js'),
        'pm2/shop.config.js': exportsOf(app),
        'ecosystem.config.js': '!',
      },
      ['pm2/shop.config.js'],
    ],
    'the file of a command in another directory': [
      {
        ...start('cd deploy && pm2 start shop.json'),
        'deploy/shop.json': JSON.stringify({ apps: { ...app, cwd: '..' } }),
      },
      ['shop.json'],
    ],
    'the file of a Procfile': [
      { Procfile: 'web: pm2-runtime shop.config.js', 'shop.config.js': exportsOf(app) },
      ['shop.config.js'],
    ],
    'the file of a command between others of PM2': [
      {
        ...start('pm2 delete all || true; npx pm2 start shop.config.js --env prod && pm2 save && pm2 logs'),
        'shop.config.js': exportsOf(app),
      },
      ['shop.config.js'],
    ],
    'the options of a command': [
      start('pm2 start server.js -i 2 --kill-timeout 3000'),
      ['"start" in package.json'],
    ],
  };
  for (const [title, [files, origins]] of Object.entries(cases)) {
    test(`may be ${title}`, async (t) => {
      const plan = await planOf(t, { ...server, ...files });
      assert.equal(plan.workers.count, 2);
      assert.equal(inShort(plan).start, 'server.js');
      assert.deepEqual(inShort(plan).origins, origins);
    });
  }

  test('gets the options --env and --only of a command', async (t) => {
    const apps = exportsOf({ ...app, name: 'a' }, { ...app, name: 'b', instances: 3 }, { ...app, name: 'c' });
    const plan = await planOf(t, {
      ...server,
      ...start('NODE_OPTIONS=--x pm2 start x.config.js --env prod --only b'),
      'x.config.js': apps,
    });
    assert.deepEqual([inShort(plan).workers, inShort(plan).processes], [3, {}]);
    assert.equal(plan.start.candidates[0]?.command?.env['NODE_OPTIONS'], '--x');
    assert.deepEqual(inShort(plan).env, { A: '1' });
  });

  test('is an error that names the reason', async (t) => {
    const texts: [text: string, message: RegExp][] = [
      ['throw new Error("no")', /^ecosystem\.config\.js fails in line 1: Error: no$/],
      ['module.exports = () => ({})', /^ecosystem\.config\.js exports a function, which PM2 does not call$/],
      [
        exportsOf({ script: 'server.js' }, { name: 'x' }),
        /^ecosystem\.config\.js has an app without "script"$/,
      ],
    ];
    for (const [text, message] of texts) {
      const files = { ...server, 'ecosystem.config.js': text };
      await assert.rejects(planOf(t, files), { code: 'invalid_pm2_file', message });
      const plan = await planOf(t, { ...files, 'sluice.json': { start: 'node server.js' } });
      assert.match(plan.notices[0]?.message ?? '', /^Sluice does not use ecosystem\.config\.js: /);
    }
  });

  test('leaves the plan open until the install if a package is missing', async (t) => {
    const text = `require('dotenv'); ${exportsOf(app)}`;
    const files = { ...server, 'ecosystem.config.js': text };
    await assert.rejects(planOf(t, files), { message: /Cannot find module 'dotenv'/ });
    const withPackage = { ...files, 'package.json': { dependencies: { dotenv: '1' } } };
    const { open, build } = await planOf(t, withPackage);
    assert.match(
      open[0]?.reason ?? '',
      /^ecosystem\.config\.js needs the package dotenv, so the install decides/,
    );
    assert.equal(build?.installs, true);
    await assert.rejects(planOf(t, withPackage, { isInstalled: true }), { code: 'invalid_pm2_file' });
    const installed = { ...withPackage, 'node_modules/dotenv/index.js': '' };
    assert.equal((await planOf(t, installed, { isInstalled: true })).workers.count, 2);
  });

  test('without apps is not used', async (t) => {
    const plan = await planOf(t, { ...server, 'ecosystem.config.json': '{"a": 1}' });
    assert.deepEqual(inShort(plan).notices, ['file_not_read']);
    const others = { 'process.json': '{"a": 1}', 'ecosystem.js': 'for (;;);', 'process.yml': 'x: 1' };
    assert.deepEqual(inShort(await planOf(t, { ...server, ...others })).notices, []);
    const after = await planOf(t, { ...server, ...others, 'pm2.json': JSON.stringify(app) });
    assert.deepEqual(inShort(after).origins, ['pm2.json']);
  });
});

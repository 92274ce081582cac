import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { serverSettingsSchema } from '../../src/config/server-settings.ts';
import { parseJsonSettings, parseSettings } from '../../src/config/settings-file.ts';
import type { AppError } from '../../src/errors/app-error.ts';

test('all faults are listed at once, with suggestions for unknown settings', () => {
  const settings = { worker: 2, healthCheck: {}, shape: 'round', health: { paths: '/' }, keepReleases: 1 };
  assert.throws(() => parseSettings(appSettingsSchema, settings, 'sluice.json'), {
    code: 'invalid_settings',
    message: `sluice.json has 5 faults:
  health.paths: unknown setting (did you mean "path"?)
  keepReleases: expected a whole number from 2 to 1000, got 1
  worker: unknown setting (did you mean "workers"?)
  healthCheck: unknown setting (did you mean "health"?)
  shape: unknown setting`,
  });
});

test('a value that is not an object is rejected', () => {
  assert.throws(() => parseSettings(appSettingsSchema, { build: 5 }, 'sluice.json'), {
    message: 'sluice.json has 1 fault:\n  build: expected Object, got 5',
  });
  assert.throws(() => parseSettings(appSettingsSchema, 'x', 'sluice.json'), {
    message: 'sluice.json has 1 fault:\n  expected Object, got "x"',
  });
});

test('sluice.json may have comments and trailing commas, and other files may not', () => {
  const text = '{\n  // Two are enough.\n  "workers": 2, /* "start": "x" */\n  "shared": ["a//b",],\n}';
  assert.deepEqual(parseJsonSettings(text, 'sluice.json'), { workers: 2, shared: ['a//b'] });
  const reject = (content: string, name: string, message: RegExp) =>
    assert.throws(() => parseJsonSettings(content, name), { code: 'invalid_settings', message });
  reject(text, 'package.json', /^package\.json is not valid JSON: .*at position 4/);
  reject('{ "workers": /* two */ }', 'sluice.json', /^sluice\.json is not valid JSON: /);
});

const rejectedTexts: [setting: string, values: unknown[], make: (value: unknown) => unknown][] = [
  ['start', ['', ' ', 'node a\nb', 'node \0'], (start) => ({ start })],
  ['build.command', ['', 'bu\nild', 'bu\0ild'], (command) => ({ build: { command } })],
  ['hooks.preBuild', ['', '\n', 'echo \0'], (preBuild) => ({ hooks: { preBuild } })],
  ['health.path', ['', 'x', '/ x', '/\r\nX: y', '/\0', '/ä', '/\t'], (path) => ({ health: { path } })],
  ['health.headers.host', ['a\r\nb', 'a\nb', '\0', '語'], (host) => ({ health: { headers: { host } } })],
  ['shared.0', ['a\nb', 'a\0b', '\u001b[2J', '../x'], (path) => ({ shared: [path] })],
  ['root', ['a\nb', '\u0007'], (root) => ({ root })],
  ['branches.staging', ['a\nb', 'a b', 'a\0'], (branch) => ({ branches: { staging: branch } })],
  ['processes.mail', ['', 'node a\rb', 'node \0'], (command) => ({ processes: { mail: command } })],
  ['cron.0.command', ['', 'echo \0'], (command) => ({ cron: [{ schedule: '* * * * *', command }] })],
  [
    'cron.0.request',
    ['/a b', '/a\u0001', 'GET /\r\n', '/ä'],
    (request) => ({ cron: [{ schedule: '* * * * *', request }] }),
  ],
];

for (const [setting, values, make] of rejectedTexts) {
  test(`${setting} rejects unusable text`, () => {
    for (const value of values) {
      const text = JSON.stringify(value);
      assert.throws(
        () => parseSettings(appSettingsSchema, make(value), 'sluice.json'),
        (error: Error) => {
          assert.match(error.message, new RegExp(`^  ${RegExp.escape(setting)}: `, 'm'), text);
          return true;
        },
        text,
      );
    }
  });
}

test('health.headers rejects headers that control how a request is sent, and invalid names', () => {
  for (const name of [
    'Content-Length',
    'transfer-encoding',
    'Connection',
    'upgrade',
    'expect',
    'a b',
    'a:',
    'a\r\nb',
    '',
    'ä',
  ]) {
    assert.throws(
      () => parseSettings(appSettingsSchema, { health: { headers: { [name]: '5' } } }, 'x'),
      { code: 'invalid_settings' },
      name,
    );
  }
});

test('a duration longer than a timer and a size beyond exact numbers are rejected', () => {
  for (const settings of [
    { drainTimeout: '600h' },
    { bootTimeout: 2 ** 31 },
    { health: { interval: '100000h' } },
    { stuckTimeout: `${'9'.repeat(400)}h` },
    { maxMemory: `${'9'.repeat(30)}G` },
  ]) {
    assert.throws(
      () => parseSettings(appSettingsSchema, settings, 'sluice.json'),
      (error: AppError) => error.code === 'invalid_settings' && /at most "/.test(error.message + error.hint),
      JSON.stringify(settings),
    );
  }
  assert.equal(parseSettings(appSettingsSchema, { drainTimeout: '288h' }, 'x').drainTimeout, 288 * 3_600_000);
});

test('settings of the server reject unusable text', () => {
  for (const settings of [
    { ssh: { authorizedKeys: '/home/a\0b' } },
    { ssh: { authorizedKeys: '~/a\nb' } },
    { acme: { directory: 'https://[::1]:x/directory' } },
    { acme: { directory: 'https://ca.example\0/' } },
    { acme: { caFile: '/ca\0.pem' } },
    { acme: { dnsServer: 'resolver.example.com' } },
    { acme: { dnsServer: '192.0.2.1:99999' } },
  ]) {
    const parse = () => parseSettings(serverSettingsSchema, settings, 'config.json');
    assert.throws(parse, { code: 'invalid_settings' }, JSON.stringify(settings));
  }
  const usable = {
    ssh: { authorizedKeys: '~/.ssh/Größe keys' },
    acme: { directory: 'https://127.0.0.1:14000/dir', dnsServer: '127.0.0.1:8053' },
  };
  const { ssh, acme } = parseSettings(serverSettingsSchema, usable, 'config.json');
  assert.deepEqual([ssh.authorizedKeys, acme.dnsServer], ['~/.ssh/Größe keys', '127.0.0.1:8053']);
});

test('settings accept usable text', () => {
  const settings = {
    start: 'node dist/server.js --name="a b"',
    hooks: { preSwitch: 'npm run migrate\n# the end' },
    health: { path: '/up?deep=1&x=%20#', headers: { Host: 'example.com', 'x-api-key': 'a\tb é' } },
    shared: ['Größe/data base.db'],
    cron: [{ schedule: '0 3 * * *', request: 'POST /tasks/mail?all=1' }],
  };
  const { health, start } = parseSettings(appSettingsSchema, settings, 'sluice.json');
  assert.deepEqual([health.path, start], [settings.health.path, settings.start]);
});

test('two jobs must not have the same name, given or by position', () => {
  const job = { schedule: '@daily', command: 'true' };
  const cron = [{ ...job, name: 'mail' }, { ...job, name: 'cron-3' }, job, { ...job, name: 'mail' }];
  assert.throws(
    () => parseSettings(appSettingsSchema, { cron }, 'sluice.json'),
    /has 2 faults:\n {2}cron\.2: expected a unique name.*\n {2}cron\.3: expected a unique name/,
  );
});

test('the numbers of background processes and jobs of an app are limited', () => {
  const processes = (counts: number[]) =>
    Object.fromEntries(
      counts.map((count, index) => [`worker-${index}`, { command: 'node worker.js', count }]),
    );
  const cron = (count: number) =>
    Array.from({ length: count }, () => ({ schedule: '@daily', command: 'true' }));
  const accepts = (settings: object) => v.safeParse(appSettingsSchema, settings).success;
  assert.ok(accepts({ processes: processes([64, 64]) }));
  assert.ok(!accepts({ processes: processes([64, 64, 1]) }));
  assert.ok(accepts({ cron: cron(100) }));
  assert.ok(!accepts({ cron: cron(101) }));
  const cost = (count: number) => {
    const { user } = process.cpuUsage();
    assert.ok(!accepts({ cron: cron(count) }));
    return process.cpuUsage().user - user;
  };
  // The cost of 16 times as many jobs is 16 times as high; with each job compared to all others, 256 times.
  const few = cost(1000);
  const many = cost(16_000);
  assert.ok(
    many < few * 64,
    `${many / few} times the CPU time: a check of many jobs does not stop the server`,
  );
});

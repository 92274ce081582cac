import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import type { AppStatus } from '../../src/apps/status.ts';
import { frame, type View } from '../../src/cli/monit/frame.ts';
import { keysOf } from '../../src/cli/monit/screen.ts';
import { answering, running } from '../support/apps.ts';
import { cli, sluiceBinary } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const printing = `
  console.log('a line of shop \u001b]0;owned\u0007');
  require('node:http').createServer((request, response) => response.end()).listen(process.env.PORT);
`;
await sluice.deploy('blog', answering('blog'));
await sluice.deploy('shop', running(printing));

const [entersScreen, leavesScreen] = ['\u001b[?1049h', '\u001b[?1049l'];

test('monit shows apps, processes and the log in a terminal, follows keys, and restores the screen', async (t) => {
  const terminal = monit(t);
  await terminal.shows(/web\.0 +\d+ +open/);
  assert.match(terminal.screen(), /> blog +running +1 +1 +\d+ % +\d/);
  assert.match(terminal.screen(), / {2}shop +running/);
  terminal.type('\u001b[B');
  await terminal.shows(/> shop [\s\S]*a line of shop/);
  terminal.type('q');
  assert.equal(await terminal.status, 0);
  assert.ok(terminal.output().includes(entersScreen));
  assert.ok(terminal.output().trimEnd().endsWith(leavesScreen));
  assert.ok(!terminal.output().includes('\u001b]'), 'the app cannot rename the window');
});

for (const [how, end] of [
  ['Ctrl-C', (terminal: Terminal) => terminal.type('\u0003')],
  ['SIGTERM', (terminal: Terminal) => process.kill(terminal.pid(), 'SIGTERM')],
] as const) {
  test(`monit restores the screen after ${how}`, async (t) => {
    const terminal = monit(t, 'shop');
    await terminal.shows(/> shop /);
    end(terminal);
    await terminal.status;
    assert.ok(terminal.output().trimEnd().endsWith(leavesScreen));
  });
}

test('monit keeps the last figures while the server is away, and says so', async (t) => {
  const terminal = monit(t, 'shop');
  await terminal.shows(/> shop /);
  process.kill(sluice.pid, 'SIGKILL');
  await terminal.shows(/Sluice is not running[\s\S]*> shop /);
  terminal.type('q');
  assert.equal(await terminal.status, 0);
});

type Terminal = ReturnType<typeof monit>;

/** Runs `sluice monit` in a terminal of 30 rows, which `script` provides. */
function monit(t: TestContext, ...args: string[]) {
  const command = `stty rows 30 cols 120; echo "pid $$"; exec ${sluiceBinary} monit ${args.join(' ')}`;
  const child = spawn('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], {
    env: { PATH: process.env['PATH'], TERM: 'xterm', SLUICE_HOME: sluice.home, HOME: '/nonexistent' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const status = once(child, 'exit').then(([code]) => code as number);
  const screen = () => stripVTControlCharacters(text.slice(text.lastIndexOf('\u001b[H')));
  return {
    status,
    screen,
    output: () => text,
    pid: () => Number(/pid (\d+)/.exec(text)?.[1]),
    type: (keys: string) => child.stdin.write(keys),
    shows: (pattern: RegExp) => waitFor(() => pattern.test(screen()), { what: `${pattern} on the screen` }),
  };
}

test('monit needs a terminal', async () => {
  const env = { SLUICE_HOME: sluice.home };
  const piped = await cli(['monit'], { env });
  assert.equal(piped.code, 2);
  assert.match(piped.stderr, /needs a terminal\n {2}For the figures as JSON: sluice status --json/);
});

test('keys are recognised one by one', () => {
  assert.deepEqual(keysOf('\u001b[A\u001bOBxjkq\u0003'), ['up', 'down', 'down', 'up', 'quit', 'quit']);
});

test('a frame has no more lines than the terminal, and shows the selected one of many apps', () => {
  const apps = Array.from({ length: 1000 }, (_, index) => app(`app-${index}`));
  const log = Array.from({ length: 100 }, (_, index) => entry(`line ${index}`));
  const view: View = { apps, selected: 'app-500', log, fault: undefined, now: new Date() };
  for (const rows of [1, 5, 24, 60]) {
    const lines = frame(view, rows, false);
    assert.ok(lines.length <= rows, `${lines.length} lines on ${rows} rows`);
    if (rows >= 24) {
      assert.ok(
        lines.some((line) => line.startsWith('> app-500 ')),
        `${rows} rows`,
      );
      assert.match(lines.at(-1) ?? '', /line 99$/);
    }
  }
});

test('a frame shows why figures are old, and no control characters of a log', () => {
  const log = [entry('\u001b[2Jcleared\u0007')];
  const view: View = { apps: [app('shop')], selected: 'shop', log, fault: 'no answer', now: new Date() };
  const text = frame(view, 24, false).join('\n');
  assert.match(text, /\nno answer\n/);
  assert.match(text, / cleared/);
  assert.doesNotMatch(text, /(?!\n)\p{Cc}/u);
});

function app(name: string): AppStatus {
  return {
    ...{ name, environment: 'production', state: 'running', since: new Date().toISOString() },
    ...{
      problem: null,
      crash: null,
      standby: null,
      reverted: null,
      url: 'http://127.0.0.1:9001',
      domains: [],
      port: 9001,
      release: 1,
    },
    ...{ reach: 'server', host: '127.0.0.1', commit: null, branch: null, start: null, maxMemory: null },
    ...{
      node: '26.8.2',
      wanted: 1,
      exec: null,
      deploying: [],
      changedSinceBuild: [],
      rebuild: null,
      workers: [],
      background: [],
    },
    ...{ cron: [], oneOffs: [], descriptors: 0 },
  } as AppStatus;
}

function entry(line: string) {
  return { time: new Date().toISOString(), release: 1, process: 'web.0', stream: 'out' as const, line };
}

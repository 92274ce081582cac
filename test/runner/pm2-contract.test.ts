import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type {
  BackgroundSpec,
  EnvironmentStatus,
  GenerationSpec,
  SupervisionSpec,
} from '../../src/protocol/runner.ts';
import { isAlive, processStartTime } from '../../src/system/process/processes.ts';
import { appLog } from '../support/app-log.ts';
import { appFile } from '../support/exec.ts';
import { fetchText } from '../support/http.ts';
import { apps, TestRunner } from '../support/runner.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { waitFor } from '../support/wait.ts';

interface Note {
  what: 'begin' | 'message' | 'signal' | 'sent';
  pid: number;
  message?: unknown;
  signal?: string;
  seen?: Record<string, string>;
  [more: string]: unknown;
}

/** An app in the style of PM2 in a runner, and what it has noted. */
class Pm2App {
  readonly runner: TestRunner;
  readonly path: string;

  private constructor(runner: TestRunner) {
    this.runner = runner;
    this.path = join(runner.paths.home, 'notes');
  }

  static async start(t: TestContext): Promise<Pm2App> {
    return new Pm2App(await TestRunner.start(t));
  }

  /** Returns the notes of the app, the oldest first. */
  async notes(what?: Note['what']): Promise<Note[]> {
    const text = await readFile(this.path, 'utf8').catch(() => '');
    const all = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Note);
    return what === undefined ? all : all.filter((note) => note.what === what);
  }

  /** Waits for so many notes of a kind. */
  async noted(what: Note['what'], count = 1): Promise<Note[]> {
    return waitFor(
      async () => {
        const notes = await this.notes(what);
        return notes.length >= count && notes;
      },
      { what: `${count} notes "${what}"` },
    );
  }

  /** Returns the spec of a release whose workers run the app. */
  workers(settings: object = {}, env: Record<string, string> = {}): GenerationSpec {
    return this.runner.spec('pm2.cjs', { workers: 1, ...settings }, { NOTES: this.path, ...env });
  }

  /** Returns the spec of a release with one worker in exec mode, which runs the app. */
  exec(settings: object = {}, env: Record<string, string> = {}): GenerationSpec {
    const command = `true; node ${appFile('pm2.cjs')}; exit $?`;
    return { ...this.workers(settings, env), script: '', exec: { command, reason: 'it is a test' } };
  }

  /** Returns the spec of a release with background processes that run the app, beside one worker that notes nothing. */
  background(
    own: Partial<BackgroundSpec> = {},
    env: Record<string, string> = {},
    settings: object = {},
  ): GenerationSpec {
    const background: BackgroundSpec = {
      ...{ name: 'mail', count: 1, overlap: false, nodeArgs: [], args: [] },
      script: join(apps, 'pm2.cjs'),
      ...own,
      env: { NOTES: this.path, ...env },
    };
    return { ...this.runner.spec('plain.cjs', { workers: 1, ...settings }), background: [background] };
  }

  async status(): Promise<EnvironmentStatus> {
    const [status] = await this.runner.client.call('status', {});
    assert.ok(status);
    return status;
  }

  /** Waits for a line of the app's log. */
  async line(pattern: RegExp): Promise<string> {
    const found = async () => {
      const log = await appLog(
        this.runner.paths.environment({ app: 'shop', environment: 'production' }).logs,
      );
      return log.find(({ text }) => pattern.test(text))?.text;
    };
    return waitFor(found, { what: `the line ${pattern}` });
  }

  /** Processes with EXIT_FILE end while this file exists. */
  get exitFile(): string {
    return `${this.path}.exit`;
  }

  letExit(): Promise<void> {
    return writeFile(this.exitFile, '');
  }

  keepRunning(): Promise<void> {
    return rm(this.exitFile, { force: true });
  }

  stop(): Promise<unknown> {
    return this.runner.client.call('stop', { key: 'shop' });
  }
}

interface Case {
  name: string;
  spec(app: Pm2App, own: Partial<SupervisionSpec>, env?: Record<string, string>): GenerationSpec;
}

/** Ways in which Sluice runs a process of an app. */
const cases: Case[] = [
  { name: 'a worker', spec: (app, own, env) => ({ ...app.workers({}, env), ...own }) },
  { name: 'a worker in exec mode', spec: (app, own, env) => ({ ...app.exec({}, env), ...own }) },
  { name: 'a background process', spec: (app, own, env) => app.background(own, env) },
];

for (const { name, spec } of cases) {
  const variant = thorough(name === 'a worker in exec mode');
  test(`with shutdownWithMessage, ${name} gets the message 'shutdown' and no signal${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    await app.runner.release(spec(app, { shutdownWithMessage: true, killTimeout: 60_000 }));
    await app.noted('begin');
    await app.stop();
    const notes = (await app.notes()).filter(({ what }) => what !== 'begin');
    assert.deepEqual(
      notes.map(({ what, message }) => [what, message]),
      [['message', 'shutdown']],
    );
  });

  test(`with shutdownWithMessage, ${name} that stays is killed after killTimeout${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    await app.runner.release(spec(app, { shutdownWithMessage: true, killTimeout: 200 }, { ENDS: 'never' }));
    const [begun] = await app.noted('begin');
    await app.stop();
    await ended(begun?.pid);
    const line = await app.line(/killTimeout/);
    assert.match(line, /had not ended 200 ms after the message 'shutdown' \("killTimeout"\)$/);
  });

  test(`${name} gets the stop signal, and SIGKILL after killTimeout${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    await app.runner.release(spec(app, { stopSignal: 'SIGINT', killTimeout: 200 }, { ENDS: 'never' }));
    const [begun] = await app.noted('begin');
    await app.stop();
    await ended(begun?.pid);
    const signals = await app.notes('signal');
    // The shell of exec mode passes nothing on, so its whole group gets SIGINT.
    assert.deepEqual([...new Set(signals.map(({ signal }) => signal))], ['SIGINT']);
    assert.match(await app.line(/killTimeout/), /had not ended 200 ms after SIGINT \("killTimeout"\)$/);
  });

  test(`${name} has a process.send that takes any message, and process.disconnect ends nothing${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    await app.runner.release(spec(app, {}, { SENDS: 'yes' }));
    const [sent] = await app.noted('sent');
    assert.deepEqual([sent?.['kind'], sent?.['connected'], sent?.['called']], ['function', true, 2]);
    assert.ok(isAlive(sent?.pid ?? 0));
    assert.deepEqual(await app.notes('message'), []);
  });

  test(`${name} knows its number, under the name of instanceVar, and its variables of PM2${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    const show = { SHOW: 'NODE_APP_INSTANCE,NR,pm_id,BASE', BASE: '9000' };
    await app.runner.release(spec(app, {}, show));
    const [plain] = await app.noted('begin');
    assert.deepEqual(plain?.seen, { NODE_APP_INSTANCE: '0', BASE: '9000' });
    await app.runner.release(spec(app, { instanceVar: 'NR', incrementVar: 'BASE', pmId: 3 }, show));
    const [, renamed] = await app.noted('begin', 2);
    assert.deepEqual(renamed?.seen, { NR: '0', pm_id: '3', BASE: '9000' });
  });

  test(`${name} that ends with status 0 starts again, and with autorestart: false it does not${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    const restarts = { maxRestarts: 16, minUptime: 0, delay: 10, backoff: true, stopExitCodes: [] };
    const exits = { EXITS: '0', EXIT_FILE: app.exitFile };
    await app.runner.release(spec(app, { restarts: { ...restarts, autorestart: true } }, exits));
    const [first] = await app.noted('begin');
    await app.letExit();
    const [, second] = await app.noted('begin', 2);
    assert.notEqual(first?.pid, second?.pid);
    await app.keepRunning();
    await app.runner.release(spec(app, { restarts: { ...restarts, autorestart: false } }, exits));
    const [third] = (await app.noted('begin', 3)).slice(-1);
    await app.letExit();
    assert.match(
      await app.line(/"autorestart"/),
      /exit status 0 .*; it is not started again \("autorestart"\)$/,
    );
    await ended(third?.pid);
    const isStopped = async () => {
      const { background, state } = await app.status();
      return name === 'a background process' ? background[0]?.state === 'stopped' : state === 'stopped';
    };
    await waitFor(isStopped, { what: 'the state `stopped`' });
  });

  test(`metrics that ${name} declares appear in its status${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    await app.runner.release({ ...spec(app, {}, { SENDS: 'yes' }), stuckTimeout: 400 });
    const metrics = async () => {
      const { background, workers } = await app.status();
      const [one] = name === 'a background process' ? background : workers;
      return one !== undefined && one.metrics.length > 0 && one.metrics;
    };
    assert.deepEqual(await waitFor(metrics, { what: 'metrics' }), [
      { name: 'Users', value: 3, unit: 'people' },
    ]);
  });
}

test('with shutdownWithMessage, the message follows the drain', async (t) => {
  const app = await Pm2App.start(t);
  await app.runner.release(app.workers({ shutdownWithMessage: true, drainTimeout: '60s' }));
  const held = fetchText(app.runner.port, '/hold');
  const inFlight = async () => (await app.status()).workers[0]?.requests === 1;
  await waitFor(inFlight, { what: 'the request in flight' });
  await app.runner.release(app.runner.spec('plain.cjs', { workers: 1 }));
  assert.deepEqual(await app.notes('message'), []);
  await writeFile(`${app.path}.answer`, '');
  assert.equal((await held).body, 'held');
  const [noted] = await app.noted('message');
  assert.equal(noted?.message, 'shutdown');
  assert.deepEqual(await app.notes('signal'), []);
});

for (const { name, spec } of cases) {
  const variant = thorough(name === 'a worker in exec mode');
  test(`with shutdownWithMessage, ${name} of an earlier runner gets the message, too${variant}`, async (t) => {
    const app = await Pm2App.start(t);
    const own = { shutdownWithMessage: true, killTimeout: 60_000 };
    await app.runner.release({ ...spec(app, own), drainTimeout: 500 });
    const [begun] = await app.noted('begin');
    await app.runner.kill();
    await app.runner.launch();
    await app.runner.release(app.runner.spec('plain.cjs', { workers: 1 }));
    const [noted] = await app.noted('message');
    assert.equal(noted?.message, 'shutdown');
    await ended(begun?.pid);
    assert.deepEqual(await app.notes('signal'), []);
  });
}

test("with waitReady, the worker is ready once it has sent 'ready', also before it listens", async (t) => {
  const app = await Pm2App.start(t);
  await app.runner.release(app.workers({ waitReady: true }, { READY: 'early' }));
  assert.equal((await app.status()).state, 'running');
  const never = app.workers({ waitReady: true, bootTimeout: 1500 }, { READY: 'wrong' });
  await assert.rejects(app.runner.boot(never), { code: 'boot_timeout' });
  const { workers } = await app.status();
  assert.deepEqual(
    workers.map(({ release }) => release),
    [1],
    'the old worker still serves',
  );
});

test("with waitReady, a background process of an app without workers is ready once it has sent 'ready'", async (t) => {
  const app = await Pm2App.start(t);
  const settings = { workers: 0, waitReady: true, bootTimeout: 1500 };
  await app.runner.release(app.background({}, { READY: 'early' }, settings));
  assert.equal((await app.status()).state, 'running');
  await assert.rejects(app.runner.boot(app.background({}, { READY: 'wrong' }, settings)), {
    code: 'boot_timeout',
    message: 'mail.0 did not call process.send(\'ready\') within 1.5 s ("waitReady")',
  });
  const own = { waitReady: false };
  await app.runner.release(app.background(own, { READY: 'wrong' }, settings));
});

test('workers have the lowest free number, and keep it when they are restarted and replaced', async (t) => {
  const app = await Pm2App.start(t);
  const settings = { workers: 3, pm2Variables: true, incrementVar: 'BASE', restartDelay: 10 };
  const show = { SHOW: 'NODE_APP_INSTANCE,pm_id,BASE', BASE: '7000' };
  const spec = app.workers({ ...settings, cronRestart: '0 0 1 1 *' }, show);
  await app.runner.release(spec);
  const numbers = [0, 1, 2].map((nr) => ({
    ...{ NODE_APP_INSTANCE: String(nr), pm_id: String(nr), BASE: String(7000 + nr) },
  }));
  const begun = await app.noted('begin', 3);
  assert.deepEqual(sorted(begun), numbers);
  const second = begun.find(({ seen }) => seen?.['NODE_APP_INSTANCE'] === '1');
  process.kill(second?.pid ?? 0, 'SIGKILL');
  const restarted = (await app.noted('begin', 4)).at(-1);
  assert.deepEqual(restarted?.seen, numbers[1]);
  await app.runner.release(app.workers(settings, show));
  assert.deepEqual(sorted((await app.noted('begin', 7)).slice(4)), numbers);
});

test('PORT of the workers is not incremented, and that of a background process is', async (t) => {
  const app = await Pm2App.start(t);
  await app.runner.release(
    app.background({ count: 2, incrementVar: 'PORT' }, { PORT: '9100', SHOW: 'PORT' }),
  );
  const ports = (await app.noted('begin', 2)).map(({ seen }) => seen?.['PORT']);
  assert.deepEqual(ports.sort(), ['9100', '9101']);
});

test('a background process above its own maxMemory is restarted, though it is not to start again by itself', async (t) => {
  const app = await Pm2App.start(t);
  const restarts = { maxRestarts: 16, minUptime: 0, delay: 10, backoff: true, stopExitCodes: [0] };
  const own = { maxMemory: 32 * 1024 ** 2, restarts: { ...restarts, autorestart: false } };
  // The limit of the app would be enough.
  await app.runner.release(app.background(own, {}, { maxMemory: '4G' }));
  await app.noted('begin', 2);
  await app.line(/takes .* more than 32 MiB \("maxMemory"\), and is restarted$/);
});

test('a background process without a limit of its own is not restarted for that of the app', async (t) => {
  const app = await Pm2App.start(t);
  await app.runner.release({ ...app.background({ maxMemory: null }), maxMemory: 32 * 1024 ** 2 });
  const measured = async () => ((await app.status()).background[0]?.memoryBytes ?? 0) > 32 * 1024 ** 2;
  await waitFor(measured, { what: 'a process above the limit of the app' });
  // The worker, which has the limit, is replaced by the same check.
  await app.line(/^worker 0 .* more than 32 MiB \("maxMemory"\), and is replaced$/);
  assert.equal((await app.status()).background[0]?.restarts, 0);
});

test('cronRestart restarts a background process, and starts one that has ended for good', async (t) => {
  const app = await Pm2App.start(t);
  const restarts = { maxRestarts: 16, minUptime: 0, delay: 10, backoff: true, stopExitCodes: [] };
  const cronRestart = { schedule: '* * * * * *', timezone: null };
  await app.runner.release(app.background({ cronRestart }));
  const running = await app.noted('begin', 3);
  assert.equal(new Set(running.map(({ pid }) => pid)).size, running.length);
  await app.line(/is due for "cronRestart", and is restarted$/);
  const before = (await app.notes('begin')).length;
  const own = { cronRestart, restarts: { ...restarts, autorestart: false } };
  await writeFile(app.exitFile, '');
  await app.runner.release(app.background(own, { EXITS: '0', EXIT_FILE: app.exitFile }));
  await app.noted('begin', before + 3);
  await app.stop();
  assert.deepEqual((await app.status().catch(() => undefined))?.background ?? [], []);
});

for (const kind of ['a CommonJS module', 'an ES module']) {
  test(`an app that loads the package pm2 from ${kind} gets a module that knows this process, and no daemon`, async (t) => {
    const app = await Pm2App.start(t);
    const directory = await temporaryDirectory(t);
    await mkdir(join(directory, 'node_modules/pm2'), { recursive: true });
    const inPackage = (name: string) => join(directory, 'node_modules/pm2', name);
    await writeFile(inPackage('package.json'), '{"name": "pm2", "version": "7.0.4", "main": "index.js"}');
    await writeFile(inPackage('index.js'), "console.log('the package was loaded'); process.exit(1);");
    const isModule = kind === 'an ES module';
    const script = join(directory, isModule ? 'app.mjs' : 'app.cjs');
    const load = isModule ? "import pm2 from 'pm2';" : "const pm2 = require('pm2');";
    await writeFile(script, `${load}\n${useOfPm2}`);
    await app.runner.release({ ...app.background({ script }), directory });
    await app.line(/^listed 1 true false$/);
    await app.line(/^sluice: pm2\.restart\(\) does nothing: Sluice runs this app, not PM2$/);
    await app.line(/^refused pm2\.restart\(\) does nothing/);
  });
}

/** Code that uses functions of the package as apps do, also without a callback. */
const useOfPm2 = `
  pm2.connect(true, (error) => {
    if (error) process.exit(2);
    pm2.list((error, list) => {
      console.log('listed', list.length, list[0].pid === process.pid, pm2.then !== undefined);
      pm2.sendDataToProcessId({ id: 0, type: 'process:msg', data: {}, topic: 'x' });
      pm2.restart('shop', (error) => console.log('refused', error.message));
      pm2.disconnect();
    });
  });
  setInterval(() => undefined, 1000);
`;

test('with --enable-source-maps, the stack of an error names the source', async (t) => {
  const app = await Pm2App.start(t);
  const background = { script: join(apps, 'mapped.cjs'), nodeArgs: ['--enable-source-maps'] };
  await app.runner.release(app.background(background));
  await app.line(/original\.ts:7/);
});

/** Waits for the end of a process. */
async function ended(pid = 0): Promise<void> {
  assert.notEqual(pid, 0);
  await waitFor(() => processStartTime(pid) === undefined, { what: `the end of process ${pid}` });
}

/** Returns the variables of processes, by their instance. */
function sorted(begun: Note[]): (Record<string, string> | undefined)[] {
  const number = ({ seen }: Note) => Number(seen?.['NODE_APP_INSTANCE']);
  return begun.sort((one, other) => number(one) - number(other)).map(({ seen }) => seen);
}

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { isAlive } from '../../src/system/process/processes.ts';
import { cli } from '../support/cli.ts';
import { freePort } from '../support/free-port.ts';
import { fetchText } from '../support/http.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { removeDirectory } from '../support/temporary.ts';
import { waitFor } from '../support/wait.ts';

/**
 * Moves two apps from a real PM2 while 24 clients send requests for 20 s: behind nginx, and on ports that PM2 holds itself. Installs
 * PM2 from the npm registry.
 */
const run = promisify(execFile);
const seconds = Number(process.env['SLUICE_TEST_SECONDS'] ?? 20);
const clientsOfApp = 12;
/** Time without an answer after which a request counts as failed, in ms. */
const unanswered = 30_000;

const server = `
  const http = require('node:http');
  const by = () => (process.env.SLUICE_RELEASE ? 'sluice' : 'pm2') + ' ' + process.env.APP_NAME + ' ' + process.pid;
  const server = http.createServer((request, response) => {
    setTimeout(() => response.end(by()), request.url === '/slow' ? 50 : 0);
  });
  server.listen(process.env.PORT);
  process.on('SIGINT', () => {
    server.close(() => process.exit());
    server.closeIdleConnections();
  });
`;

const directory = await mkdtemp(join(tmpdir(), 'sluice-pm2-'));
const path = [join(directory, 'pm2/node_modules/.bin'), process.env['PATH']].join(delimiter);
after(() => removeDirectory(directory));
await mkdir(join(directory, 'pm2'));
await run('npm', ['install', '--no-audit', '--no-fund', '--prefix', join(directory, 'pm2'), 'pm2@7']);

/** PM2 of one test, with two apps in cluster mode from a git checkout each. */
class Pm2 {
  readonly env: Record<string, string>;
  readonly ports: Record<string, number> = {};

  constructor(home: string) {
    this.env = { PATH: path, HOME: home, PM2_HOME: join(home, '.pm2') };
  }

  static async start(t: TestContext, names: string[]): Promise<Pm2> {
    const home = await mkdtemp(join(directory, 'home-'));
    const pm2 = new Pm2(home);
    t.after(() => pm2.run('kill'));
    for (const name of names) await pm2.#startApp(name, join(home, name));
    return pm2;
  }

  async #startApp(name: string, checkout: string): Promise<void> {
    const port = await freePort();
    this.ports[name] = port;
    await mkdir(checkout);
    await writeFile(join(checkout, 'package.json'), JSON.stringify({ name, engines: { node: '>=18' } }));
    await writeFile(join(checkout, 'server.js'), server);
    const author = ['-c', 'user.name=a', '-c', 'user.email=a@example.com'];
    for (const args of [
      ['init', '--quiet'],
      ['add', '.'],
      [...author, 'commit', '--quiet', '--message=first'],
    ])
      await run('git', args, { cwd: checkout });
    const env = { ...this.env, PORT: String(port), APP_NAME: name, SSH_CLIENT: '192.0.2.1 1 2' };
    await run('pm2', ['start', 'server.js', '--name', name, '-i', '2'], { cwd: checkout, env });
    await waitFor(
      () =>
        fetchText(port).then(
          ({ status }) => status === 200,
          () => false,
        ),
      { what: name },
    );
  }

  async run(...args: string[]): Promise<string> {
    return (await run('pm2', args, { env: this.env })).stdout;
  }

  async processes(): Promise<{ pid: number; name: string; status: string }[]> {
    const list = JSON.parse(await this.run('jlist')) as {
      pid: number;
      name: string;
      pm2_env: { status: string };
    }[];
    return list.map(({ pid, name, pm2_env: { status } }) => ({ pid, name, status }));
  }
}

interface Answer {
  start: number;
  body: string;
}

/** Clients of an app; half of them keep their connections. */
class Clients {
  readonly answers: Answer[] = [];
  readonly failures: { start: number; error: string }[] = [];
  retried = 0;
  #stopped = false;
  readonly #ended: Promise<unknown>;

  constructor(port: number, host: string, count = clientsOfApp) {
    this.#ended = Promise.all(Array.from({ length: count }, (_, index) => this.#run(port, host, index)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
  }

  /** Returns true if Sluice has answered. */
  get isMoved(): boolean {
    return this.answers.at(-1)?.body.startsWith('sluice') ?? false;
  }

  async #run(port: number, host: string, index: number): Promise<void> {
    const agent = index % 2 === 0 ? new Agent({ keepAlive: true, maxSockets: 1 }) : false;
    const path = index % 3 === 0 ? '/slow' : '/';
    while (!this.#stopped) {
      const start = performance.now();
      try {
        this.answers.push({ start, body: await this.#get({ port, path, agent, headers: { host } }) });
      } catch (error) {
        this.failures.push({ start, error: (error as Error).message });
      }
    }
    if (agent) agent.destroy();
  }

  /** Sends a request again as browsers do: if a kept connection was closed before its answer began. */
  #get(options: object): Promise<string> {
    return new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', ...options }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () =>
          response.statusCode === 200 ? resolve(body) : reject(new Error(`status ${response.statusCode}`)),
        );
        response.on('error', reject);
      });
      sent.on('error', (error: NodeJS.ErrnoException) => {
        if (!sent.reusedSocket || error.code !== 'ECONNRESET') return reject(error);
        this.retried += 1;
        this.#get(options).then(resolve, reject);
      });
      // PM2 may end while a request is on its way between its daemon and a process; that request need not end.
      sent.setTimeout(unanswered, () => sent.destroy(new Error('no answer')));
      sent.end();
    });
  }
}

const env = (sluice: Sluice, pm2: Pm2) => ({
  ...pm2.env,
  ...{ SLUICE_HOME: sluice.home, XDG_CONFIG_HOME: sluice.home },
});
const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);

test('behind nginx, two apps move from PM2 and back without a lost request', async (t) => {
  const sluice = await startSluice(t);
  const pm2 = await Pm2.start(t, ['shop', 'blog']);
  const machine = await machineWithNginx(t);
  const conf = join(machine.directory, 'conf.d/apps.conf');
  const before = `upstream shop { server 127.0.0.1:${pm2.ports['shop']}; keepalive 8; }
server {
  listen ${machine.http};
  server_name shop.example.com;
  location / { proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection ""; }
}
server {
  listen ${machine.http};
  server_name blog.example.com;
  location / { proxy_pass http://localhost:${pm2.ports['blog']}; }
}
`;
  await writeFile(conf, before);
  await machine.nginx();
  const clients = ['shop', 'blog'].map((name) => new Clients(machine.http, `${name}.example.com`));
  const startedAt = performance.now();
  await waitFor(() => clients.every(({ answers }) => answers.length > 100));
  const options = ['--nginx-config', machine.mainConfig];

  const shown = await cli(['import', 'pm2', '--dry-run', ...options], { env: env(sluice, pm2) });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, new RegExp(`nginx passes requests on: ${conf}`));
  assert.match(shown.stdout, /variables +APP_NAME\n/);
  const pids = (await pm2.processes()).map(({ pid }) => pid);
  const moved = await cli(['import', 'pm2', '--apply', ...options], { env: env(sluice, pm2) });
  assert.equal(moved.code, 0, moved.stdout + moved.stderr);
  assert.match(
    moved.stdout,
    new RegExp(`-   1  upstream shop \\{ server 127\\.0\\.0\\.1:${pm2.ports['shop']};`),
  );
  assert.match(moved.stdout, /`pm2 save --force`, `pm2 unstartup`/);
  assert.deepEqual(
    (await pm2.processes()).map(({ status }) => status),
    Array(4).fill('stopped'),
  );
  assert.deepEqual(pids.filter(isAlive), []);
  assert.ok(clients.every(({ isMoved }) => isMoved));
  const [release] = await sluice.releases('shop');
  assert.match(release?.commit ?? '', /^[0-9a-f]{40}$/);

  const undone = await cli(['import', 'pm2', '--undo', 'shop', ...options], { env: env(sluice, pm2) });
  assert.equal(undone.code, 0, undone.stdout + undone.stderr);
  await waitFor(() => clients[0]?.isMoved === false, { what: 'the way back' });
  await waitFor(() => performance.now() - startedAt > seconds * 1000, { timeout: seconds * 1000 + 5000 });
  await Promise.all(clients.map((each) => each.stop()));
  const failures = clients.flatMap((each) => each.failures);
  t.diagnostic(
    `${sum(clients.map(({ answers }) => answers.length))} answers, ${failures.length} failed requests, ${sum(clients.map(({ retried }) => retried))} sent again after nginx closed a kept connection`,
  );
  assert.deepEqual(failures, []);
});

test('on ports that PM2 holds, connections are refused for at most 100 ms', async (t) => {
  const sluice = await startSluice(t);
  const pm2 = await Pm2.start(t, ['shop', 'blog']);
  const clients = ['shop', 'blog'].map((name) => new Clients(pm2.ports[name] ?? 0, 'localhost'));
  const startedAt = performance.now();
  await waitFor(() => clients.every(({ answers }) => answers.length > 100));
  const pids = (await pm2.processes()).map(({ pid }) => pid);
  const { code, stdout, stderr } = await cli(
    ['import', 'pm2', '--apply', '--delete', '--json', '--nginx-config', '/nonexistent'],
    { env: env(sluice, pm2) },
  );
  assert.equal(code, 0, stdout + stderr);
  const { takeovers } = JSON.parse(stdout) as { takeovers: { app: string; by: string; refusedMs: number }[] };
  assert.deepEqual(await pm2.processes(), []);
  assert.deepEqual(pids.filter(isAlive), []);
  await waitFor(() => clients.every(({ isMoved }) => isMoved), { what: 'the answers of Sluice' });
  await waitFor(() => performance.now() - startedAt > seconds * 1000, { timeout: seconds * 1000 + 5000 });
  await Promise.all(clients.map((each) => each.stop()));
  for (const [index, { answers, failures }] of clients.entries()) {
    const refused = failures.filter(({ error }) => error.includes('ECONNREFUSED')).map(({ start }) => start);
    const gap = refused.length === 0 ? 0 : Math.max(...refused) - Math.min(...refused);
    const { app, by, refusedMs } = takeovers[index] ?? { app: '', by: '', refusedMs: Number.NaN };
    t.diagnostic(
      `${app}: ${answers.length} answers, ${failures.length} failed requests (${refused.length} refused, within ${gap.toFixed(1)} ms); announced: ${refusedMs.toFixed(1)} ms`,
    );
    assert.equal(by, 'port');
    assert.ok(refusedMs <= 100 && gap <= 100);
  }
});

test('on a port that PM2 had, --undo announces how long connections are refused', async (t) => {
  const sluice = await startSluice(t);
  const pm2 = await Pm2.start(t, ['shop']);
  const importPm2 = (...options: string[]) =>
    cli(['import', 'pm2', '--nginx-config', '/nonexistent', ...options], { env: env(sluice, pm2) });
  const moved = await importPm2('--apply');
  assert.equal(moved.code, 0, moved.stdout + moved.stderr);
  const clients = new Clients(pm2.ports['shop'] ?? 0, 'localhost');
  await waitFor(() => clients.isMoved);
  const { code, stdout, stderr } = await importPm2('--undo', 'shop');
  assert.equal(code, 0, stdout + stderr);
  const [, announced] = /PM2 has port \d+ again: connections were refused for (.+)/.exec(stdout) ?? [];
  assert.ok(announced, stdout);
  await waitFor(() => clients.answers.at(-1)?.body.startsWith('pm2') ?? false, {
    what: 'the answers of PM2',
  });
  await clients.stop();
  const starts = clients.failures.map(({ start }) => start);
  const gap = starts.length === 0 ? 0 : Math.max(...starts) - Math.min(...starts);
  const counts = Map.groupBy(clients.failures, ({ error }) => error);
  const errors = [...counts].map(([error, all]) => `${all.length} × ${error}`).join(', ');
  t.diagnostic(`${errors}, within ${gap.toFixed(1)} ms; announced: ${announced}`);
});

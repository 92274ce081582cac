import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { request } from 'node:http';
import { BoundSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TokenStore } from '../../src/api/auth/tokens.ts';
import { Paths } from '../../src/config/paths.ts';
import { exitStatus } from '../../src/server/program.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { smallHeap } from '../../src/system/process/footprint.ts';
import { firstPort } from './free-port.ts';
import { fetchOnce } from './http.ts';
import { type Files, pack } from './pack.ts';
import { removeDirectory, temporaryDirectory } from './temporary.ts';
import { waitFor } from './wait.ts';

interface UnitsOptions {
  /** false if the runner does not know a socket that starts the server */
  isWoken?: boolean;
  /** time without work after which the server rests */
  restSeconds?: number;
  /** more variables of both processes */
  env?: Record<string, string>;
}

/** Server and runner as units of systemd, with sockets that outlive both. */
export class Units {
  readonly paths: Paths;
  readonly directory: string;
  readonly #sockets: BoundSocket[];
  readonly #names = ['api', 'api', 'local', 'push'];
  readonly #token: string;
  readonly #port: number;
  readonly #env: NodeJS.ProcessEnv;
  readonly #runner: ChildProcess;
  #server: ChildProcess | undefined;
  #isStopping = false;
  /** log of the servers */
  output = '';
  /** number of servers that ended to rest, with `keepStarting` */
  rests = 0;

  private constructor(paths: Paths, directory: string, port: number, token: string, options: UnitsOptions) {
    const { isWoken = true, restSeconds = 0.5, env = {} } = options;
    this.paths = paths;
    this.directory = directory;
    this.#port = port;
    this.#token = token;
    this.#env = {
      ...process.env,
      SLUICE_HOME: paths.home,
      SLUICE_REST_SECONDS: String(restSeconds),
      ...env,
    };
    this.#runner = spawn(process.execPath, [...smallHeap, moduleAt('runner/main.ts')], {
      env: { ...this.#env, ...(isWoken && { SLUICE_API_SOCKET: join(directory, 'api.sock') }) },
      stdio: 'ignore',
    });
    this.#sockets = [
      new BoundSocket({ host: '127.0.0.1', port, reusePort: true }),
      ...['api', 'server', 'push'].map(
        (name) => new BoundSocket({ path: join(directory, `${name}.sock`) } as object),
      ),
    ];
  }

  static async create(t: Pick<TestContext, 'after'>, options: UnitsOptions = {}): Promise<Units> {
    const directory = await temporaryDirectory(t);
    const { paths, port, secret } = await createHome();
    const units = new Units(paths, directory, port, secret, options);
    t.after(async () => {
      await units.#end();
      await removeDirectory(paths.home);
    });
    return units;
  }

  async #end(): Promise<void> {
    this.#isStopping = true;
    this.#server?.kill('SIGTERM');
    await this.ended();
    this.#runner.kill('SIGTERM');
    await exitOf(this.#runner);
    for (const socket of this.#sockets) socket.close();
  }

  get runnerPid(): number {
    return this.#runner.pid ?? 0;
  }
  get serverPid(): number {
    return this.#server?.pid ?? 0;
  }

  /** Ways to reach the server; the last one is for pushes alone. */
  get ways(): object[] {
    const paths = ['api', 'server', 'push'].map((name) => join(this.directory, `${name}.sock`));
    return [{ host: '127.0.0.1', port: this.#port }, ...paths.map((socketPath) => ({ socketPath }))];
  }

  /** Starts a server. @returns when the server accepts connections */
  async start(): Promise<void> {
    const script = 'LISTEN_PID=$$ exec "$0" "$@"';
    const program = [process.execPath, ...smallHeap, moduleAt('server/unit.ts')];
    const passed = { LISTEN_FDS: String(this.#sockets.length), LISTEN_FDNAMES: this.#names.join(':') };
    const child = spawn('/bin/sh', ['-c', script, ...program], {
      env: { ...this.#env, ...passed },
      stdio: ['ignore', 'ignore', 'pipe', ...this.#sockets.map((socket) => socket.fd())],
    });
    child.stderr?.on('data', (data) => {
      this.output += data;
    });
    this.#server = child;
    const { length } = this.output;
    await waitFor(() => this.output.includes('"msg":"ready"', length) || child.exitCode !== null, {
      what: 'the server',
    });
  }

  /** Starts a server whenever one rests. systemd waits for a connection, which comes soon enough here. */
  async keepStarting(): Promise<void> {
    const started = this.start();
    this.#server?.once('exit', (code) => {
      if (this.#isStopping) return;
      assert.equal(code, exitStatus.atRest, this.output);
      this.rests += 1;
      void this.keepStarting();
    });
    await started;
  }

  /** Waits for the end of the server, and returns its exit status. */
  async ended(): Promise<number | null> {
    return this.#server === undefined ? null : exitOf(this.#server);
  }

  ask(way: object): Promise<number | undefined> {
    const headers = { authorization: `Bearer ${this.#token}` };
    return new Promise((resolve, reject) => {
      request({ ...way, path: '/v1/status', headers, agent: false }, (response) => {
        text(response).then(() => resolve(response.statusCode), reject);
      })
        .on('error', reject)
        .end();
    });
  }

  async status(): Promise<{ apps: { url: string }[] }> {
    return (await this.#call('GET', '/v1/status')) as { apps: { url: string }[] };
  }

  async deploy(app: string, files: Files): Promise<void> {
    await this.#call('POST', `/v1/apps/${app}/releases`, new Uint8Array(await pack(files)));
  }

  async #call(method: string, path: string, body?: Uint8Array<ArrayBuffer>): Promise<unknown> {
    const headers = { authorization: `Bearer ${this.#token}`, connection: 'close' };
    const url = `http://127.0.0.1:${this.#port}${path}`;
    const response = await fetchOnce(url, { method, headers, ...(body && { body }) });
    assert.ok(response.ok, `${method} ${path}: ${response.status}`);
    return response.json();
  }
}

/**
 * Makes a home for units, with ports of its own.
 * @param settings further server settings
 * @returns `secret`: token of an administrator
 */
export async function createHome(settings: Record<string, unknown> = {}) {
  const home = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const paths = new Paths(home);
  const port = await firstPort();
  await writeJsonAtomic(paths.settings, {
    listen: { port },
    apps: { firstPort: port + 1 },
    ssh: { authorizedKeys: join(home, 'authorized_keys') },
    ...settings,
  });
  const { secret } = await new TokenStore(paths).create('test', ['admin'], null);
  return { paths, port, secret };
}

/** Returns the exit status of a process, once it has ended. */
async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode;
}

function moduleAt(path: string): string {
  return fileURLToPath(new URL(`../../src/${path}`, import.meta.url));
}

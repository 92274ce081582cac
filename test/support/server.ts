import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, symlink } from 'node:fs/promises';
import { BoundSocket, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TokenStore } from '../../src/api/auth/tokens.ts';
import type { AppStatus } from '../../src/apps/status.ts';
import { baseEnvironment } from '../../src/build/variables.ts';
import { type EnvironmentId, Paths } from '../../src/config/paths.ts';
import type { DeployEvent } from '../../src/deploy/events.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { CallClient } from '../../src/protocol/peer.ts';
import type { RunnerCalls } from '../../src/protocol/runner.ts';
import type { Release } from '../../src/releases/release.ts';
import { ProcessRecords } from '../../src/runner/takeover/process-records.ts';
import type { Ready } from '../../src/server/up.ts';
import { ensurePrivateDirectory, writeJsonAtomic } from '../../src/system/fs/files.ts';
import { smallHeap } from '../../src/system/process/footprint.ts';
import { signalProcess } from '../../src/system/process/processes.ts';
import { firstPort } from './free-port.ts';
import { type Files, pack } from './pack.ts';
import type { Comparison } from './same-decision.ts';
import { removeDirectory } from './temporary.ts';
import { waitFor } from './wait.ts';

const entry = fileURLToPath(new URL('../../src/server/up.ts', import.meta.url));

interface SluiceOptions {
  /** content of config.json, beside ports of our own */
  settings?: Record<string, unknown>;
  /** beside our own environment */
  env?: Record<string, string>;
  /** an empty directory; a temporary one if left out */
  home?: string;
  /** path of a unix socket of the API, which is opened as systemd does it, and so is the TCP port: both outlive the server */
  apiSocket?: string;
  /** true to compare each deploy with what `sluice check` shows for the same files; SLUICE_TEST_CHECK asks for it in all tests */
  check?: boolean;
}

/** A real `sluice up` with a home of its own, on free ports; it and all that it started are gone after the test. */
export async function startSluice(
  t: Pick<TestContext, 'after'>,
  options: SluiceOptions = {},
): Promise<Sluice> {
  const home = options.home ?? (await mkdtemp(join(tmpdir(), 'sluice-test-')));
  const sluice = new Sluice(home, { check: options.check });
  t.after(async () => {
    await sluice.end();
    if (options.home === undefined) await removeDirectory(home);
  });
  // Defaults of tests: free ports, and a file of ssh keys that is not the tester's own.
  const { listen, apps, ssh, ...settings } = options.settings ?? {};
  await writeJsonAtomic(new Paths(home).settings, {
    listen: { port: 0, ...(listen as object) },
    apps: { firstPort: await firstPort(), ...(apps as object) },
    ssh: { authorizedKeys: join(home, '.ssh/authorized_keys'), ...(ssh as object) },
    ...settings,
  });
  await shareTools(sluice.paths);
  if (options.apiSocket !== undefined) await sluice.openSockets(t, options.apiSocket);
  await sluice.up(options.env);
  return sluice;
}

/** Package managers are fetched once, for all tests: each time it takes seconds, and the registry. */
async function shareTools({ cache, tools }: Paths): Promise<void> {
  const shared = fileURLToPath(new URL('../../node_modules/.cache/sluice-test-tools', import.meta.url));
  await mkdir(shared, { recursive: true });
  await ensurePrivateDirectory(cache);
  await symlink(shared, tools);
}

/** App or release in tests, most of which have a port. Without a port, `url` is null all the same. */
export type WithUrl<T extends { url: string | null }> = T & { url: string };

export class Sluice {
  readonly home: string;
  readonly paths: Paths;
  readonly #as: { uid: number; gid: number } | undefined;
  #child: ChildProcess | undefined;
  #ready: Ready | undefined;
  #token = '';
  readonly #check: boolean;
  #sockets: BoundSocket[] = [];

  /**
   * @param as the user that the server runs as, where that is another one
   * @param token one that may do anything, where there is one already
   */
  constructor(
    home: string,
    {
      as,
      token = '',
      check = Boolean(process.env['SLUICE_TEST_CHECK']),
    }: { as?: { uid: number; gid: number }; token?: string; check?: boolean | undefined } = {},
  ) {
    this.home = home;
    this.#as = as;
    this.paths = new Paths(home);
    this.#token = token;
    this.#check = check;
  }

  /** of the API */
  get url(): string {
    return (this.#ready as Ready).url;
  }
  /** may do anything */
  get token(): string {
    return this.#token;
  }
  get pid(): number {
    return (this.#ready as Ready).pid;
  }

  /** Opens sockets as `sluice.socket` does. They listen from the first start of the server on. */
  async openSockets(t: Pick<TestContext, 'after'>, path: string): Promise<void> {
    this.#sockets = [
      new BoundSocket({ host: '127.0.0.1', port: 0, reusePort: true }),
      new BoundSocket({ path } as object),
    ];
    t.after(() => {
      for (const socket of this.#sockets) socket.close();
    });
    // nginx is another user where we are root.
    await chmod(path, 0o666);
  }

  /** Starts it, again after a `kill` or a `stop`. */
  async up(env: Record<string, string> = {}): Promise<void> {
    if (this.#token === '') {
      const { secret } = await new TokenStore(this.paths).create('test', ['admin'], null);
      this.#token = secret;
      if (this.#as !== undefined) await chown(this.paths.tokens, this.#as.uid, this.#as.gid);
    }
    const passed = this.#sockets.map((socket) => socket.fd());
    const withSockets = [
      '-c',
      'LISTEN_PID=$$ exec "$0" "$@"',
      process.execPath,
      ...smallHeap,
      entry,
      '--json',
    ];
    const [program, args] =
      passed.length === 0 ? [process.execPath, [...smallHeap, entry, '--json']] : ['/bin/sh', withSockets];
    const child = spawn(program, args, {
      env: { ...this.#environment(), SLUICE_HOME: this.home, LISTEN_FDS: String(passed.length), ...env },
      stdio: ['ignore', 'pipe', 'inherit', ...passed],
      ...this.#as,
    });
    this.#child = child;
    const exited = once(child, 'exit').then(([code]) => {
      throw new Error(`sluice up ended with ${code} before it was ready`);
    });
    exited.catch(() => undefined);
    const line = once(createInterface({ input: child.stdout as Readable }), 'line');
    this.#ready = JSON.parse((await Promise.race([line, exited]))[0]) as Ready;
  }

  /** Returns the variables; for another user without the cache and settings that `npm test` names. */
  #environment(): NodeJS.ProcessEnv {
    return this.#as === undefined ? process.env : baseEnvironment(process.env, true);
  }

  /**
   * Starts a server with its output in a file, which may be on a full disk. The server is then not reported as ready.
   * @param port port of the API in its settings
   */
  async upInto(file: string, port: number): Promise<void> {
    const output = openSync(file, 'a');
    const child = spawn(process.execPath, [...smallHeap, entry], {
      env: { ...this.#environment(), SLUICE_HOME: this.home },
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    this.#child = child;
    const url = `http://127.0.0.1:${port}`;
    this.#ready = { url, pid: child.pid ?? 0, home: this.home, version: '' };
    const isUp = () =>
      fetch(`${url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    await waitFor(async () => child.exitCode !== null || (await isUp()), { what: 'the server' });
    if (child.exitCode !== null) throw new Error(`sluice up ended with ${child.exitCode}`);
  }

  /** Ends it as Ctrl-C does. @returns its exit status */
  stop(): Promise<number | null> {
    return this.#signal('SIGTERM');
  }

  /** Ends it, and leaves the apps to the next one. */
  leave(): Promise<number | null> {
    return this.#signal('SIGUSR2');
  }

  /** Ends the server as a crash does: at once. Its runner and the apps go on. */
  async kill(): Promise<void> {
    await this.#signal('SIGKILL');
  }

  /** Resolves when the server is gone. */
  async ended(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    this.#child = undefined;
    return child.exitCode;
  }

  async #signal(signal: NodeJS.Signals): Promise<number | null> {
    this.#child?.kill(signal);
    return this.ended();
  }

  /** Ends all that there may be: the server, a runner that has outlived it, workers and jobs that have outlived both. */
  async end(): Promise<void> {
    await this.#signal('SIGTERM');
    await ensurePrivateDirectory(this.paths.run);
    await shutDownRunner(this.paths.runnerSocket);
    const records = new ProcessRecords(this.paths.processes);
    for (const { pid } of await records.alive()) signalProcess(-pid, 'SIGKILL');
  }

  /** Returns the URL to push an app to. @param token default: a token with all rights */
  gitUrl(app: string, token = this.#token): string {
    return `${this.url.replace('http://', `http://git:${token}@`)}/git/${app}.git`;
  }

  /** A call of the API, on a connection of its own: one that is kept may be closed in the very moment of its next use. */
  request(path: string, init: RequestInit = {}): Promise<Response> {
    const authorization = `Bearer ${this.#token}`;
    const headers = { authorization, connection: 'close', ...(init.headers as Record<string, string>) };
    return fetch(this.url + path, { ...init, headers });
  }

  /** A call with and for JSON. @throws AppError that it was answered with */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const json = body === undefined ? {} : { body: JSON.stringify(body) };
    const headers = { 'content-type': 'application/json' };
    return answered(await this.request(path, { method, headers, ...json }));
  }

  /** Uploads files, given by path, and waits until they are live. @throws AppError */
  async deploy(app: string, files: Files, environment = 'production'): Promise<WithUrl<Release>> {
    const body = new Uint8Array(await pack(files));
    const path = `/v1/apps/${app}/releases?environment=${environment}`;
    const comparison = await this.#comparison({ app, environment }, files);
    const response = await this.request(path, { method: 'POST', body });
    const release = await answered<WithUrl<Release>>(response).catch((error: AppError) => {
      comparison?.failed(error);
      throw error;
    });
    await comparison?.live(release.number);
    return release;
  }

  /** Returns the comparison of a deploy with `sluice check`, if the test asks for it. */
  async #comparison(id: EnvironmentId, files: Files): Promise<Comparison | undefined> {
    if (!this.#check) return undefined;
    const { comparison } = await import('./same-decision.ts');
    return comparison(this.paths.environment(id), id, files);
  }

  /** Uploads files and tells what happens, as it happens. */
  async *watchDeploy(app: string, files: Files, signal?: AbortSignal): AsyncGenerator<DeployEvent> {
    const body = new Uint8Array(await pack(files));
    const headers = { accept: 'application/x-ndjson' };
    const comparison = await this.#comparison({ app, environment: 'production' }, files);
    const init = { method: 'POST', body, headers, ...(signal && { signal }) };
    const response = await this.request(`/v1/apps/${app}/releases`, init);
    if (response.body === null) throw new Error('an answer without a body');
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of response.body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const event = JSON.parse(line) as DeployEvent;
        if (event.event === 'live') await comparison?.live(event.release.number);
        if (event.event === 'failed') comparison?.failed(event.error);
        yield event;
      }
    }
  }

  status(app: string): Promise<WithUrl<AppStatus>> {
    return this.call('GET', `/v1/apps/${app}`);
  }

  releases(app: string): Promise<WithUrl<Release>[]> {
    return this.call('GET', `/v1/apps/${app}/releases`);
  }

  rollback(app: string, release?: number): Promise<WithUrl<Release>> {
    return this.call('POST', `/v1/apps/${app}/rollback`, release === undefined ? {} : { release });
  }

  /** Returns the answer of the app. */
  async get(app: string, path = '/'): Promise<string> {
    const { url } = await this.status(app);
    return (await fetch(url + path, { headers: { connection: 'close' } })).text();
  }

  /** Waits until the app runs. */
  async untilRunning(app: string): Promise<WithUrl<AppStatus>> {
    return waitFor(
      async () => {
        const status = await this.status(app);
        return status.state === 'running' && status;
      },
      { what: `${app} running` },
    );
  }

  /** Its own log, parsed. */
  async log(): Promise<Record<string, unknown>[]> {
    const lines = (await readFile(this.paths.log, 'utf8')).split('\n');
    // The last one may be being written.
    lines.pop();
    return lines.map((line) => JSON.parse(line));
  }
}

async function answered<T>(response: Response): Promise<T> {
  const answer = await response.text();
  const body = answer === '' ? null : JSON.parse(answer);
  if (!response.ok) throw AppError.from(body.error);
  return body;
}

/** Does nothing if there is no runner. */
async function shutDownRunner(path: string): Promise<void> {
  const socket = connect(path);
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  if (!connected) return;
  const client = new CallClient<RunnerCalls>(socket, () => new AppError('runner_unavailable', 'gone'));
  // One that was about to end may be gone before it has answered.
  await client.call('shutdown', {}).catch((error: AppError) => {
    if (error.code !== 'runner_unavailable') throw error;
  });
  await client.closed;
}

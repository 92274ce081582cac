import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { processStartTime, signalProcess } from '../src/system/process/processes.ts';
import { removeDirectory } from '../test/support/temporary.ts';
import { waitFor } from '../test/support/wait.ts';
import type { Scope } from './measurement.ts';
import { processTree } from './processes.ts';
import { pm2Program } from './programs.ts';

const run = promisify(execFile);

/** App to start in cluster mode. */
interface Pm2App {
  script: string;
  name?: string;
  workers?: number;
  /** default: the directory of the script */
  directory?: string;
  env?: Record<string, string>;
}

/** PM2 with a home of its own. PM2 and its workers run on the Node.js of the benchmark, as Sluice does. */
export class Pm2 {
  readonly #home: string;

  private constructor(home: string) {
    this.#home = home;
  }

  /** Creates the home; the first app starts the daemon. All processes are gone after the scope. */
  static async create(scope: Pick<Scope, 'after'>): Promise<Pm2> {
    const pm2 = new Pm2(await mkdtemp(join(tmpdir(), 'sluice-bench-pm2-')));
    scope.after(async () => {
      await pm2.#stop();
      await removeDirectory(pm2.#home);
    });
    return pm2;
  }

  async start({ script, name = 'app', workers = 2, directory, env = {} }: Pm2App): Promise<void> {
    const cwd = directory === undefined ? [] : ['--cwd', directory];
    await this.call(['start', script, '--instances', String(workers), '--name', name, ...cwd], env);
  }

  /** Replaces the workers of an app one after the other. */
  async reload(name = 'app'): Promise<void> {
    await this.call(['reload', name]);
  }

  async call(args: string[], env: Record<string, string> = {}): Promise<void> {
    await run(process.execPath, [pm2Program, ...args], {
      env: {
        ...env,
        PATH: process.env['PATH'],
        HOME: this.#home,
        PM2_HOME: this.#home,
        PM2_DISABLE_VERSION_CHECK: 'true',
      },
      timeout: 120_000,
    });
  }

  /** Returns the pid of the daemon, and 0 without one. */
  async daemon(): Promise<number> {
    return Number(await readFile(join(this.#home, 'pm2.pid'), 'utf8').catch(() => '0'));
  }

  /** Returns the pids of the daemon and of all workers. */
  async pids(): Promise<number[]> {
    return processTree(await this.daemon());
  }

  /** Returns the output of the workers. */
  async output(): Promise<string> {
    const logs = join(this.#home, 'logs');
    const names = (await readdir(logs)).filter((name) => name.startsWith('app-out'));
    return (await Promise.all(names.map((name) => readFile(join(logs, name), 'latin1')))).join('');
  }

  async #stop(): Promise<void> {
    const daemon = await this.daemon();
    if (daemon === 0 || (await processStartTime(daemon)) === undefined) return;
    const pids = await this.pids();
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    for (const pid of pids) await waitFor(async () => (await processStartTime(pid)) === undefined);
  }
}

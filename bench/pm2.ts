import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { processStartTime, signalProcess } from '../src/system/process/processes.ts';
import { waitFor } from '../test/support/wait.ts';
import { processTree } from './support.ts';

const run = promisify(execFile);

/** PM2 as somebody would install it, in a directory of its own: nothing of ours needs it. */
export class Pm2 {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Undefined, and a line that says why, where it cannot be had. */
  static async install(t: { after: (cleanup: () => unknown) => void }): Promise<Pm2 | undefined> {
    const directory = await mkdtemp(join(tmpdir(), 'sluice-bench-pm2-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory];
    try {
      await run('npm', ['install', ...flags, 'pm2@7'], { cwd: directory, timeout: 180_000 });
    } catch (error) {
      console.log(`nothing is compared with PM2, which cannot be installed: ${(error as Error).message}`);
      return undefined;
    }
    return new Pm2(directory);
  }

  /** A daemon of its own, with two cluster workers of `script`. */
  async start(script: string, environment: Record<string, string>): Promise<Pm2Daemon> {
    const home = await mkdtemp(join(this.#directory, 'home-'));
    const daemon = new Pm2Daemon(home);
    const env = {
      ...environment,
      PATH: process.env['PATH'],
      HOME: home,
      PM2_HOME: home,
      PM2_DISABLE_VERSION_CHECK: 'true',
    };
    try {
      // By our own Node.js, which the daemon and its workers then run on too: the runtimes are not what is compared.
      const pm2 = join(this.#directory, 'node_modules/pm2/bin/pm2');
      await run(process.execPath, [pm2, 'start', script, '-i', '2', '--name', 'app'], {
        env,
        timeout: 60_000,
      });
      await daemon.find();
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }
}

/** Daemon of PM2, which PM2 calls God. */
export class Pm2Daemon {
  readonly #home: string;
  pid = 0;
  workers: number[] = [];

  constructor(home: string) {
    this.#home = home;
  }

  async find(): Promise<void> {
    this.pid = Number(await readFile(join(this.#home, 'pm2.pid'), 'utf8'));
    this.workers = (await processTree(this.pid)).slice(1);
  }

  /** Returns the output of the workers. */
  async output(): Promise<string> {
    const logs = join(this.#home, 'logs');
    const names = (await readdir(logs)).filter((name) => name.startsWith('app-out'));
    return (await Promise.all(names.map((name) => readFile(join(logs, name), 'latin1')))).join('');
  }

  /** Ends it and its workers, by their pids. */
  async stop(): Promise<void> {
    const pid = Number(await readFile(join(this.#home, 'pm2.pid'), 'utf8').catch(() => '0'));
    if (pid === 0 || (await processStartTime(pid)) === undefined) return;
    const all = await processTree(pid);
    for (const each of all) signalProcess(each, 'SIGKILL');
    for (const each of all) await waitFor(async () => (await processStartTime(each)) === undefined);
  }
}

import { chown, readFile, realpath, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { filesInDump } from '../edge/nginx-dump.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { writeFileAtomic } from '../system/fs/files.ts';
import { listPids, parentOf, titleOf } from '../system/process/processes.ts';
import { ProgramFailed, run, usualPath } from '../system/process/run.ts';
import { replaceProxies } from './proxies.ts';

/** File of nginx, and its text before and after a change. */
export interface FileChange {
  /** absolute, without links */
  path: string;
  before: string;
  after: string;
}

/** Pause between two looks at nginx's processes, in ms. */
const pollInterval = 50;

/** nginx of this machine. */
export class Nginx {
  readonly #config: string | undefined;

  /** @param config main file of the configuration; undefined for the usual one */
  constructor(config?: string) {
    this.#config = config;
  }

  /**
   * Returns the files that nginx uses, with their texts; undefined if there is no nginx, or if it does not run.
   * @throws AppError `nginx_failed` if nginx refuses its configuration
   */
  async files(): Promise<Map<string, string> | undefined> {
    let dump: string;
    try {
      dump = await this.#run('-T');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    const all = filesInDump(dump);
    if ((await this.#masterPid(all[0])) === undefined) return undefined;
    const paths = await Promise.all(all.map((path) => realpath(path)));
    const texts = [...new Set(paths)].map(async (path) => [path, await readFile(path, 'utf8')] as const);
    return new Map(await Promise.all(texts));
  }

  /**
   * Replaces files, checks the configuration, loads it, and waits until the workers that ran before have ended: then no request of
   * theirs is in flight. Restores the files if nginx refuses them.
   * @param limit of the wait, in ms
   * @returns the number of former workers that still run, such as those with WebSockets
   * @throws AppError `nginx_failed`
   */
  async apply(changes: readonly FileChange[], limit: number): Promise<number> {
    const former = await this.#workers();
    try {
      for (const { path, after } of changes) await replaceFile(path, after);
      await this.#run('-t');
      await this.#run('-s', 'reload');
      return await this.#untilEnded(former, limit);
    } catch (error) {
      for (const { path, before } of changes) await replaceFile(path, before);
      await this.#run('-s', 'reload').catch(() => undefined);
      throw error;
    }
  }

  async #untilEnded(former: readonly number[], limit: number): Promise<number> {
    const deadline = performance.now() + limit;
    for (;;) {
      const titles = former
        .map((pid) => titleOf(pid) ?? '')
        .filter((title) => title.startsWith('nginx: worker'));
      if (titles.length === 0) return 0;
      if (performance.now() <= deadline) {
        await sleep(pollInterval);
        continue;
      }
      if (titles.every((title) => title.includes('shutting down'))) return titles.length;
      throw new AppError('nginx_failed', 'nginx did not load its new configuration', {
        hint: 'See the error log of nginx. The former configuration is in place again.',
      });
    }
  }

  /** Returns the pids of the workers, also of those that are about to end. */
  async #workers(): Promise<number[]> {
    const [main] = filesInDump(await this.#run('-T'));
    const master = await this.#masterPid(main);
    const pids = master === undefined ? [] : await listPids();
    return pids.filter((pid) => parentOf(pid) === master && (titleOf(pid) ?? '').startsWith('nginx: worker'));
  }

  /** Returns the pid of the master process with a main file; undefined if nginx does not run with it. */
  async #masterPid(main: string | undefined): Promise<number | undefined> {
    for (const pid of await listPids()) {
      const title = titleOf(pid) ?? '';
      if (!title.startsWith('nginx: master process')) continue;
      const named = /\s-c\s*([^\s\0]+)/.exec(title)?.[1];
      // The package of nginx.org names the usual file, too.
      if (named === undefined ? this.#config === undefined : named === main) return pid;
    }
    return undefined;
  }

  async #run(...args: string[]): Promise<string> {
    const config = this.#config === undefined ? [] : ['-c', this.#config];
    const env = {
      PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:${usualPath}`,
      LC_ALL: 'C',
    };
    try {
      return (await run('nginx', [...config, ...args], { env, timeout: 30_000 })).stdout;
    } catch (error) {
      if (!(error instanceof ProgramFailed)) throw error;
      throw new AppError('nginx_failed', `nginx ${args.join(' ')} failed: ${error.message.slice(0, 1000)}`, {
        hint: 'nginx still serves its previous configuration. Only root can read the configuration of the system: use sudo.',
        cause: error,
      });
    }
  }
}

/** Returns the changes that send requests for old ports to a new address. */
export function changesFor(
  files: ReadonlyMap<string, string>,
  ports: ReadonlySet<number>,
  to: { host: string; port: number },
): FileChange[] {
  const changes = [...files].map(([path, before]) => ({
    path,
    before,
    after: replaceProxies(before, ports, to),
  }));
  return changes.filter(({ before, after }) => before !== after);
}

/** Returns true if all files have the texts that they had before changes. */
export async function areRestored(changes: readonly FileChange[]): Promise<boolean> {
  const texts = await Promise.all(changes.map(({ path }) => ifThere(readFile(path, 'utf8'))));
  return changes.every(({ before }, index) => texts[index] === before);
}

/** Replaces the text of a file in one step. The file keeps its owner and its rights. */
async function replaceFile(path: string, text: string): Promise<void> {
  const { mode, uid, gid } = await stat(path);
  await writeFileAtomic(path, text, mode & 0o777);
  if (process.getuid?.() === 0) await chown(path, uid, gid);
}

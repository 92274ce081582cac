import { readFile, realpath } from 'node:fs/promises';
import { filesInDump } from '../edge/nginx-dump.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { listPids, titleOf } from '../system/process/processes.ts';
import { ProgramFailed, run, usualPath } from '../system/process/run.ts';
import { replaceProxies } from './proxies.ts';

/** File of nginx, and its text before and after a change. */
export interface FileChange {
  /** absolute, without links */
  path: string;
  before: string;
  after: string;
}

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
    if ((await this.masterPid()) === undefined) return undefined;
    const paths = await Promise.all(filesInDump(dump).map((path) => realpath(path)));
    const texts = [...new Set(paths)].map(async (path) => [path, await readFile(path, 'utf8')] as const);
    return new Map(await Promise.all(texts));
  }

  /** Returns the pid of the master process; undefined if nginx does not run. */
  async masterPid(): Promise<number | undefined> {
    const config = this.#config;
    for (const pid of await listPids()) {
      const title = titleOf(pid) ?? '';
      if (!title.startsWith('nginx: master process')) continue;
      if (config === undefined ? !title.includes(' -c ') : title.includes(` -c ${config}`)) return pid;
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

import { chown, readFile, realpath, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { filesInDump } from '../edge/nginx-dump.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { writeFileAtomic } from '../system/fs/files.ts';
import { listPids, parentOf, titleOf } from '../system/process/processes.ts';
import { ProgramFailed, run, usualPath } from '../system/process/run.ts';
import { diffLines, hasPart, takeBack } from './diff.ts';
import { findMaster } from './nginx-master.ts';
import { replaceProxies } from './proxies.ts';

/** File of nginx, and its text before and after a change. Each character is a byte: a file may have any encoding. */
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
    if ((await this.#master(dump)) === undefined) return undefined;
    const paths = await Promise.all(filesInDump(dump).map((path) => realpath(path)));
    const texts = [...new Set(paths)].map(async (path) => [path, await readBytes(path)] as const);
    return new Map(await Promise.all(texts));
  }

  /**
   * Replaces files, checks the configuration, loads it, and waits until the workers that ran before have ended: then no request of
   * theirs is in flight. Takes the changes back if nginx refuses them, or if another program has changed a file in the meantime.
   * @param limit of the wait, in ms
   * @returns the number of former workers that still run, such as those with WebSockets
   * @throws AppError `nginx_failed`
   */
  async apply(changes: readonly FileChange[], limit: number): Promise<number> {
    const former = await this.#workers();
    const written: FileChange[] = [];
    try {
      for (const change of changes) {
        await assertUnchanged(change);
        written.push(change);
        await replaceFile(change.path, change.after);
      }
      await this.#run('-t');
      await this.#run('-s', 'reload');
      return await this.#untilEnded(former, limit);
    } catch (error) {
      const kept = await takeAllBack(written);
      // nginx then keeps the configuration that it has.
      if (written.length > 0) await this.#run('-s', 'reload').catch(() => undefined);
      if (kept.length === 0) throw error;
      throw new AppError('nginx_failed', `${(error as Error).message}; others have changed the files, too`, {
        hint: `Take these lines back yourself:\n${changesText(kept.map(({ path, before, after }) => ({ path, before: after, after: before })))}`,
        cause: error,
      });
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
    const master = await this.#master(await this.#run('-T'));
    const pids = master === undefined ? [] : await listPids();
    return pids.filter((pid) => parentOf(pid) === master && (titleOf(pid) ?? '').startsWith('nginx: worker'));
  }

  /** @param dump output of `nginx -T` */
  #master(dump: string): Promise<number | undefined> {
    return findMaster(dump, { main: filesInDump(dump)[0], isUsual: this.#config === undefined });
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

/** Returns true if no file has a line of the changes. */
export async function areRestored(changes: readonly FileChange[]): Promise<boolean> {
  const texts = await Promise.all(changes.map(({ path }) => ifThere(readBytes(path))));
  return changes.every((change, index) => !hasPart(texts[index] ?? '', change));
}

/** Takes changes back in files that others may have changed, too. @returns the changes that are still there */
async function takeAllBack(changes: readonly FileChange[]): Promise<FileChange[]> {
  const kept: FileChange[] = [];
  for (const change of changes) {
    const now = await readBytes(change.path);
    const former = takeBack(now, change);
    if (former === undefined && hasPart(now, change)) kept.push(change);
    if (former !== undefined && former !== now) await replaceFile(change.path, former);
  }
  return kept;
}

/** @throws AppError `nginx_failed` if a file no longer has the text before a change */
async function assertUnchanged({ path, before }: FileChange): Promise<void> {
  if ((await ifThere(readBytes(path))) === before) return;
  throw new AppError('nginx_failed', `another program changes ${path}`, {
    hint: 'nginx has its former configuration. Run this command again.',
  });
}

/** Describes changes of files for people. */
export function changesText(changes: readonly FileChange[]): string {
  return changes
    .map(({ path, before, after }) => [path, ...diffLines(before, after)].join('\n  '))
    .join('\n');
}

/** Reads a file of nginx, each byte as a character. */
function readBytes(path: string): Promise<string> {
  return readFile(path, 'latin1');
}

/** Replaces the text of a file in one step. The file keeps its owner and its rights. */
async function replaceFile(path: string, text: string): Promise<void> {
  const { mode, uid, gid } = await stat(path);
  await writeFileAtomic(path, Buffer.from(text, 'latin1'), mode & 0o777);
  if (process.getuid?.() === 0) await chown(path, uid, gid);
}

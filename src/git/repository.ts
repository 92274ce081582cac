import { chmod, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { hasCode } from '../errors/app-error.ts';
import { exists } from '../system/exists.ts';
import {
  ensurePrivateDirectory,
  readLink,
  removeTree,
  replaceLink,
  syncDirectory,
  temporaryBeside,
} from '../system/files.ts';
import { archiveCommit } from './archive.ts';
import { type Commit, commitFormat, parseCommits } from './commit.ts';
import { git } from './git.ts';
import { heads } from './refs.ts';

/** What is new in a commit: a bounded list, the newest first, and how many there are in all. */
interface Changes {
  commits: Commit[];
  count: number;
}

/** How many commits of a release are told one by one. */
const maxCommits = 20;

/** A bare repository of one app. */
export class Repository {
  readonly path: string;
  readonly #env: Record<string, string>;

  /** @param env where to find objects that are not part of the repository yet: see `within` */
  constructor(path: string, env: Record<string, string> = {}) {
    this.path = path;
    this.#env = env;
  }

  /** The same repository as a push under way sees it: git keeps its objects apart until it is accepted. */
  within(quarantine: Record<string, string>): Repository {
    return new Repository(this.path, quarantine);
  }

  get isThere(): Promise<boolean> {
    return exists(join(this.path, 'HEAD'));
  }

  /** Makes it where there is none, with `hooks` as the directory of its hooks. */
  async ensure(hooks: string): Promise<void> {
    if (!(await this.isThere)) await this.#create();
    const link = join(this.path, 'hooks');
    if ((await readLink(link)) !== hooks) await replaceLink(link, hooks);
  }

  /** Removes objects of pushes that were never accepted. For when no push is under way. */
  async sweepObjects(): Promise<void> {
    const objects = join(this.path, 'objects');
    for (const name of await readdir(objects)) {
      if (/^(?:incoming|tmp_objdir)-/.test(name)) await removeTree(join(objects, name));
    }
  }

  /**
   * Removes locks that a git that was killed has left: they would keep every later push out. For the start of a server,
   * when no git can be at work.
   */
  async sweepLocks(): Promise<void> {
    for (const entry of await readdir(this.path, { recursive: true, withFileTypes: true })) {
      const isLock = entry.isFile() && entry.name.endsWith('.lock');
      if (isLock) await rm(join(entry.parentPath, entry.name), { force: true });
    }
  }

  /** The refs below `prefix`, such as `refs/heads/`, and the objects they point at. */
  async refs(prefix: string): Promise<Map<string, string>> {
    const output = await this.#git(['for-each-ref', '--format=%(refname) %(objectname)', prefix]);
    return new Map(lines(output).map((line) => line.split(' ') as [string, string]));
  }

  /**
   * Removes the refs whose value is null, and sets the others. Not at once: `a/b` cannot take the place of `a` in one
   * transaction.
   */
  async updateRefs(changes: ReadonlyMap<string, string | null>): Promise<void> {
    const removed = [...changes].filter(([, value]) => value === null).map(([ref]) => `delete ${ref}\n`);
    const set = [...changes].filter(([, value]) => value !== null);
    const updates = set.map(([ref, value]) => `update ${ref} ${value}\n`);
    for (const lines of [removed, updates]) {
      if (lines.length > 0) await git(this.path, ['update-ref', '--stdin'], { input: lines.join('') });
    }
  }

  /** The branch that a clone checks out. */
  async setHead(branch: string): Promise<void> {
    await this.#git(['symbolic-ref', 'HEAD', `${heads}${branch}`]);
  }

  /** Those of `commits` that the repository has. */
  async having(commits: string[]): Promise<Set<string>> {
    const input = commits.map((commit) => `${commit}\n`).join('');
    const output = await this.#git(['cat-file', '--batch-check=%(objectname) %(objecttype)'], input);
    return new Set(lines(output).flatMap((line) => /^(\w+) commit$/.exec(line)?.[1] ?? []));
  }

  async has(commit: string): Promise<boolean> {
    return (await this.having([commit])).has(commit);
  }

  /** `commit`, `tag`, `tree` or `blob`. */
  async typeOf(object: string): Promise<string> {
    return (await this.#git(['cat-file', '-t', object])).trim();
  }

  async commit(id: string): Promise<Commit> {
    const output = await this.#git(['log', '-1', `--format=${commitFormat.whole}`, id]);
    const [commit] = parseCommits(output);
    if (commit === undefined) throw new Error(`${id} is no commit`);
    return commit;
  }

  /** What `to` has that `from` has not. */
  async changes(from: string, to: string): Promise<Changes> {
    const range = `${from}..${to}`;
    const list = ['log', `--max-count=${maxCommits}`, `--format=${commitFormat.subject}`, range];
    const [output, count] = await Promise.all([this.#git(list), this.#git(['rev-list', '--count', range])]);
    return { commits: parseCommits(output), count: Number(count) };
  }

  /**
   * A file in a commit: its size in bytes, and its text when it is asked for; undefined where there is none of that path.
   * A symbolic link is none.
   */
  async file(commit: string, path: string): Promise<{ size: number; read(): Promise<string> } | undefined> {
    const entry = await this.#git(['ls-tree', '--long', '--full-tree', commit, '--', path]);
    const [, blob, size] = /^100\d{3} blob (\w+) +(\d+)\t/.exec(entry) ?? [];
    if (blob === undefined) return undefined;
    return { size: Number(size), read: () => this.#git(['cat-file', 'blob', blob]) };
  }

  /** Paths in a commit at which git only notes that another repository belongs there. */
  async submodules(commit: string): Promise<string[]> {
    // With -d it leaves out the files, of which there may be very many.
    const output = await this.#git(['ls-tree', '-r', '-d', '-z', '--full-tree', commit]);
    return output.split('\0').flatMap((entry) => /^160000 commit \w+\t([\s\S]+)$/.exec(entry)?.[1] ?? []);
  }

  archive(commit: string): Readable {
    return archiveCommit(this.path, commit, this.#env);
  }

  /** Whole or not at all; of two that make it at the same time, one is first. */
  async #create(): Promise<void> {
    await ensurePrivateDirectory(dirname(this.path));
    const fresh = temporaryBeside(this.path);
    try {
      await git(fresh, ['init', '--quiet', '--bare', '--initial-branch=main', '--template=']);
      await chmod(fresh, 0o700);
      await rename(fresh, this.path);
    } catch (error) {
      await removeTree(fresh);
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    }
    await syncDirectory(dirname(this.path));
  }

  #git(args: string[], input?: string): Promise<string> {
    return git(this.path, args, { env: this.#env, ...(input !== undefined && { input }) });
  }
}

function lines(output: string): string[] {
  return output.split('\n').filter((line) => line !== '');
}

import { chmod, glob, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { hasCode } from '../errors/app-error.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, readLink, replaceLink, syncDirectory } from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { temporaryBeside } from '../system/fs/temporaries.ts';
import { type Commit, commitFormat, parseCommits } from './commit.ts';
import { git, gitArchive } from './git.ts';
import { heads } from './refs.ts';

/** Commits that are new in a release. */
interface Changes {
  /** newest first, at most 20 */
  commits: Commit[];
  /** number of all new commits */
  count: number;
}

/** Limit of the new commits that a release lists. */
const maxCommits = 20;

/** Directory of the hooks of all repositories. */
const hooks = fileURLToPath(new URL('../../hooks', import.meta.url));

/** Variable with the path of the file from which git reads cut commits, instead of `shallow` in the repository. */
const shallowVariable = 'GIT_SHALLOW_FILE';

/** Bare repository of one app. */
export class Repository {
  readonly path: string;
  readonly #env: Record<string, string>;

  /** @param env variables that show git more objects: see `withQuarantine` */
  constructor(path: string, env: Record<string, string> = {}) {
    this.path = path;
    this.#env = env;
  }

  /**
   * Calls `work` with this repository as a push under way sees it: git keeps the objects of a push apart until the push is
   * accepted. For a shallow push over http, git lists only the push's cut commits; here the list also has those of the
   * repository.
   */
  async withQuarantine<T>(
    quarantine: Record<string, string>,
    work: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const pushed = new Repository(this.path, quarantine);
    if (quarantine[shallowVariable] === undefined) return work(pushed);
    const cut = new Set([...(await this.#cutCommits()), ...(await pushed.#cutCommits())]);
    const file = temporaryBeside(this.path);
    try {
      await writeFile(file, [...cut].map((commit) => `${commit}\n`).join(''), { flag: 'wx', mode: 0o600 });
      return await work(new Repository(this.path, { ...quarantine, [shallowVariable]: file }));
    } finally {
      await rm(file, { force: true });
    }
  }

  get exists(): Promise<boolean> {
    return exists(join(this.path, 'HEAD'));
  }

  /** True if the repository lacks parents of some commits. */
  get isShallow(): Promise<boolean> {
    return exists(join(this.path, 'shallow'));
  }

  /** Creates the repository if it does not exist, and links our hooks. */
  async ensure(): Promise<void> {
    if (!(await this.exists)) await this.#create();
    const link = join(this.path, 'hooks');
    if ((await readLink(link)) !== hooks) await replaceLink(link, hooks);
  }

  /** Removes objects of pushes that were never accepted. Must not run during a push. */
  async sweepObjects(): Promise<void> {
    const objects = join(this.path, 'objects');
    for (const name of await readdir(objects)) {
      if (/^(?:incoming|tmp_objdir)-/.test(name)) await removeTree(join(objects, name));
    }
  }

  /**
   * Removes files that a killed git has left: its locks, which would block every later push, and its lists of cut commits.
   * Must run only when no git runs, at the start of a server.
   */
  async sweepLocks(): Promise<void> {
    for await (const path of glob(['**/*.lock', 'shallow_*'], { cwd: this.path })) {
      await rm(join(this.path, path), { force: true });
    }
  }

  /** Lists the refs below a prefix such as `refs/heads/`, with their object ids. */
  async refs(prefix: string): Promise<Map<string, string>> {
    const output = await this.#git(['for-each-ref', '--format=%(refname) %(objectname)', prefix]);
    return new Map(lines(output).map((line) => line.split(' ') as [string, string]));
  }

  /** Removes the refs whose value is null, then sets the others: git cannot replace `a` by `a/b` in one transaction. */
  async updateRefs(changes: ReadonlyMap<string, string | null>): Promise<void> {
    const removed = [...changes].filter(([, value]) => value === null).map(([ref]) => `delete ${ref}\n`);
    const set = [...changes].filter(([, value]) => value !== null);
    const updates = set.map(([ref, value]) => `update ${ref} ${value}\n`);
    for (const lines of [removed, updates]) {
      if (lines.length > 0) await this.#git(['update-ref', '--stdin'], lines.join(''));
    }
  }

  /** Sets the branch that a clone checks out. */
  async setHead(branch: string): Promise<void> {
    await this.#git(['symbolic-ref', 'HEAD', `${heads}${branch}`]);
  }

  /** Returns those of `commits` that the repository has. */
  async having(commits: string[]): Promise<Set<string>> {
    const input = commits.map((commit) => `${commit}\n`).join('');
    const output = await this.#git(['cat-file', '--batch-check=%(objectname) %(objecttype)'], input);
    return new Set(lines(output).flatMap((line) => /^(\w+) commit$/.exec(line)?.[1] ?? []));
  }

  async has(commit: string): Promise<boolean> {
    return (await this.having([commit])).has(commit);
  }

  /** Returns the type of an object: `commit`, `tag`, `tree` or `blob`. */
  async typeOf(object: string): Promise<string> {
    return (await this.#git(['cat-file', '-t', object])).trim();
  }

  async commit(id: string): Promise<Commit> {
    const output = await this.#git(['log', '--no-walk', `--format=${commitFormat.whole}`, id]);
    const [commit] = parseCommits(output);
    if (commit === undefined) throw new Error(`${id} is not a commit`);
    return commit;
  }

  /** Lists the commits that `to` has and `from` lacks; null if the history of `to` is cut too early to know. */
  async changes(from: string, to: string): Promise<Changes | null> {
    if (!(await this.isWhole(to, from))) return null;
    const list = ['log', `--max-count=${maxCommits}`, `--format=${commitFormat.subject}`, `${from}..${to}`];
    const [output, count] = await Promise.all([this.#git(list), this.#count(from, to)]);
    return { commits: parseCommits(output), count };
  }

  /** Counts the commits that `other` has and `commit` lacks; null if the history of `commit` is cut too early to know. */
  async lacking(commit: string, other: string): Promise<number | null> {
    const count = await this.#count(commit, other);
    return count === 0 || (await this.isWhole(commit, other)) ? count : null;
  }

  /** Returns true if the repository has the whole history of a commit, apart from the history of `base`. */
  async isWhole(commit: string, base?: string): Promise<boolean> {
    const cut = await this.#cutCommits();
    if (cut.size === 0) return true;
    // Git treats a cut commit as one without parents.
    const range = [commit, ...(base === undefined ? [] : [`^${base}`])];
    const ends = lines(await this.#git(['rev-list', '--max-parents=0', ...range]));
    return !ends.some((end) => cut.has(end));
  }

  /** Returns the size of a file in a commit, in bytes, and a function that reads its text; undefined if no file has this path. */
  async file(commit: string, path: string): Promise<{ size: number; read(): Promise<string> } | undefined> {
    const entry = await this.#git(['ls-tree', '--long', '--full-tree', commit, '--', path]);
    const [, blob, size] = /^100\d{3} blob (\w+) +(\d+)\t/.exec(entry) ?? [];
    if (blob === undefined) return undefined;
    return { size: Number(size), read: () => this.#git(['cat-file', 'blob', blob]) };
  }

  /** Lists the paths of a commit's submodules. @throws AppError `git_failed` for very many directories */
  async submodules(commit: string): Promise<string[]> {
    // With -d, git lists no files.
    const output = await this.#git(['ls-tree', '-r', '-d', '-z', '--full-tree', commit]);
    const entries = output.split('\0').filter((entry) => entry.startsWith('160000 '));
    return entries.map((entry) => entry.slice(entry.indexOf('\t') + 1));
  }

  /** Returns the files of a commit as a tar: see `gitArchive`. */
  archive(commit: string): Readable {
    return gitArchive(this.path, commit, this.#env);
  }

  /** Lists the cut commits: those of a shallow history whose parents the repository lacks. */
  async #cutCommits(): Promise<Set<string>> {
    const file = this.#env[shallowVariable] ?? join(this.path, 'shallow');
    return new Set(lines((await ifThere(readFile(file, 'utf8'))) ?? ''));
  }

  async #count(from: string, to: string): Promise<number> {
    return Number(await this.#git(['rev-list', '--count', `${from}..${to}`]));
  }

  /** Creates the repository in one step. If two callers create it at the same time, one of them wins. */
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
    return git(this.path, args, this.#env, input);
  }
}

function lines(output: string): string[] {
  return output.split('\n').filter((line) => line !== '');
}

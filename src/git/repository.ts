import { chmod, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { AppError, hasCode } from '../errors/app-error.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import {
  ensurePrivateDirectory,
  readLink,
  replaceLink,
  syncDirectory,
  temporaryBeside,
} from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { type Commit, commitFormat, parseCommits } from './commit.ts';
import { archiveCommit, git, gitRecords } from './git.ts';
import { heads } from './refs.ts';

/** What is new in a commit: a bounded list, the newest first, and how many there are in all. */
interface Changes {
  commits: Commit[];
  count: number;
}

/** How many commits of a release are told one by one. */
const maxCommits = 20;

/** Most submodules that a commit may have: Sluice holds their paths and looks for each one. */
const maxSubmodules = 10_000;

/** A bare repository of one app. */
export class Repository {
  readonly path: string;
  readonly #env: Record<string, string>;

  /** @param env where to find objects that are not part of the repository yet: see `within` */
  constructor(path: string, env: Record<string, string> = {}) {
    this.path = path;
    this.#env = env;
  }

  /**
   * Opens this repository as a push under way sees it: git keeps the objects of a push apart until the push is accepted. For a
   * shallow push over http, git lists only the push's cut commits; here the list also has those of the repository.
   */
  async within(quarantine: Record<string, string>): Promise<QuarantinedRepository> {
    if (quarantine[shallowVariable] === undefined) return new QuarantinedRepository(this.path, quarantine);
    const pushed = new Repository(this.path, quarantine);
    const cut = new Set([...(await this.#cutCommits()), ...(await pushed.#cutCommits())]);
    const file = temporaryBeside(this.path);
    await writeFile(file, [...cut].map((commit) => `${commit}\n`).join(''), { flag: 'wx', mode: 0o600 });
    return new QuarantinedRepository(this.path, { ...quarantine, [shallowVariable]: file });
  }

  get isThere(): Promise<boolean> {
    return exists(join(this.path, 'HEAD'));
  }

  /** True if the repository lacks parents of some commits. */
  get isShallow(): Promise<boolean> {
    return exists(join(this.path, 'shallow'));
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
   * Removes files that a killed git has left: its locks, which would block every later push, and its lists of cut commits.
   * To be called at the start of a server, when no git can be running.
   */
  async sweepLocks(): Promise<void> {
    for (const entry of await readdir(this.path, { recursive: true, withFileTypes: true })) {
      const isList = entry.parentPath === this.path && entry.name.startsWith('shallow_');
      const isLeft = entry.name.endsWith('.lock') || isList;
      if (entry.isFile() && isLeft) await rm(join(entry.parentPath, entry.name), { force: true });
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
    const output = await this.#git(['log', '--no-walk', `--format=${commitFormat.whole}`, id]);
    const [commit] = parseCommits(output);
    if (commit === undefined) throw new Error(`${id} is no commit`);
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

  /**
   * Lists the paths of a commit's submodules.
   * @throws AppError `git_failed` for more than 10,000
   */
  async submodules(commit: string): Promise<string[]> {
    // With -d, git lists no files. There may still be a million directories, made of a few objects.
    const found: string[] = [];
    const list = ['ls-tree', '-r', '-d', '-z', '--full-tree', commit];
    for await (const entries of gitRecords(this.path, list, this.#env)) {
      for (const entry of entries) {
        if (!entry.startsWith('160000 ')) continue;
        found.push(entry.slice(entry.indexOf('\t') + 1));
        if (found.length > maxSubmodules) throw tooManySubmodules(commit);
      }
    }
    return found;
  }

  archive(commit: string): Readable {
    return archiveCommit(this.path, commit, this.#env);
  }

  /** Lists the cut commits: those of a shallow history whose parents the repository lacks. */
  async #cutCommits(): Promise<Set<string>> {
    const file = this.#env[shallowVariable] ?? join(this.path, 'shallow');
    return new Set(lines((await ifThere(readFile(file, 'utf8'))) ?? ''));
  }

  async #count(from: string, to: string): Promise<number> {
    return Number(await this.#git(['rev-list', '--count', `${from}..${to}`]));
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

/** A repository with the objects of a push that is not accepted yet. */
class QuarantinedRepository extends Repository implements AsyncDisposable {
  readonly #shallow: string | undefined;

  constructor(path: string, env: Record<string, string>) {
    super(path, env);
    this.#shallow = env[shallowVariable];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#shallow !== undefined) await rm(this.#shallow, { force: true });
  }
}

/** Variable with the path of the file from which git reads cut commits, instead of `shallow` in the repository. */
const shallowVariable = 'GIT_SHALLOW_FILE';

function tooManySubmodules(commit: string): AppError {
  return new AppError(
    'git_failed',
    `commit ${commit.slice(0, 10)} has more than ${maxSubmodules} submodules`,
    {
      hint: 'Put the files into the repository itself: Sluice does not fetch submodules.',
    },
  );
}

function lines(output: string): string[] {
  return output.split('\n').filter((line) => line !== '');
}

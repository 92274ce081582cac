import { opendirSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentPaths, ReleasePaths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, listDirectory, syncDirectory } from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';

/** Directory of Sluice's records in a release. Uploads with a file of this name are rejected. */
export const recordsName = '.sluice';

/** Removes the entries of a tree, except one name. */
export type EmptyTree = (directory: string, except: string) => Promise<void>;

/**
 * Directories of the releases of one environment, and their moves:
 *
 *     staging/N  →  staging/build                 start of the build
 *     staging/N, staging/build  →  releases/N     publish
 *     staging/N, staging/build, releases/N  →  staging/.removing-N  →  releases/N    strip: only the records remain
 *     staging/build  →  staging/N                 after a failure or a crash, if the next build starts before the strip
 *
 * Each arrow is one rename, so a release is always in exactly one directory. No move needs disk space, so a full disk can be
 * emptied. One move happens at a time.
 */
export class ReleaseDirectories {
  protected readonly paths: EnvironmentPaths;
  /** lock for moves, and for changes of records, which must not be moved meanwhile */
  protected readonly changes = new Lock();
  readonly #empty: EmptyTree;
  /** release in staging/build */
  #building: number | undefined;

  constructor(paths: EnvironmentPaths, empty: EmptyTree) {
    this.paths = paths;
    this.#empty = empty;
  }

  /** Creates staging/N for the next number. Two callers never get the same number. */
  protected async claim(): Promise<number> {
    await ensurePrivateDirectory(this.paths.staging);
    await ensurePrivateDirectory(this.paths.releases);
    for (;;) {
      const number = Math.max(0, ...(await this.numbers())) + 1;
      try {
        // Other users cannot enter, whatever the modes of unpacked files are.
        await mkdir(this.paths.staged(number).directory, { mode: 0o700 });
      } catch (error) {
        if (systemCode(error) === 'EEXIST') continue;
        throw error;
      }
      await syncDirectory(this.paths.staging);
      return number;
    }
  }

  /** Returns the numbers of all releases, the newest first. */
  protected async numbers(): Promise<number[]> {
    // Staging first: a release that is published meanwhile then appears twice, not never, and its number is not
    // assigned again.
    const staged = await listDirectory(this.paths.staging);
    const names = [...staged, ...(await listDirectory(this.paths.releases))];
    const numbers = names.flatMap((name) => /^(?:\.removing-)?([1-9]\d*)$/.exec(name)?.[1] ?? []);
    const building = this.#building === undefined ? [] : [this.#building];
    return [...new Set([...numbers.map(Number), ...building])].sort((a, b) => b - a);
  }

  /** Returns all possible paths of a release, in the order of its moves, so that a search cannot miss it. */
  protected candidates(number: number): ReleasePaths[] {
    const [staged, published] = [this.paths.staged(number), this.paths.release(number)];
    const built = this.#building === number ? [this.paths.built, staged] : [];
    return [staged, ...built, published, this.#removing(number), published];
  }

  /** Returns the current paths of a release, which a move changes; undefined if it does not exist. */
  async locate(number: number): Promise<ReleasePaths | undefined> {
    for (const paths of this.candidates(number)) {
      if (await exists(paths.directory)) return paths;
    }
    return undefined;
  }

  /**
   * Returns true if the files of a published release exist, not only its records. Reads at most two of the entries, which may be
   * very many. Uses synchronous calls, because an open directory takes a descriptor and a buffer of 32 KB in the C library: callers
   * ask for all releases at once, and must not open hundreds of directories.
   */
  async hasTree(number: number): Promise<boolean> {
    try {
      using directory = opendirSync(this.paths.release(number).directory, { bufferSize: 2 });
      const first = directory.readSync();
      return first !== null && (first.name !== recordsName || directory.readSync() !== null);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  /**
   * Moves a received release to the directory where all releases are built. One release is built at a time. A release of a failed
   * build may still be there, and moves back.
   */
  async startBuild(number: number): Promise<ReleasePaths> {
    using _ = await this.changes.take();
    const { built } = this.paths;
    if (this.#building !== undefined) await this.#move(built, this.paths.staged(this.#building));
    // Before the move, so that a search meanwhile finds the release.
    this.#building = number;
    try {
      await rename(this.paths.staged(number).directory, built.directory);
    } catch (error) {
      this.#building = undefined;
      throw error;
    }
    return built;
  }

  /** Moves a release back that was in staging/build when the server crashed. */
  protected async resumeBuild(number: number): Promise<void> {
    await this.#move(this.paths.built, this.paths.staged(number));
  }

  /** Moves a built release to its final directory. From then on, only its record changes. */
  async publish(number: number): Promise<void> {
    using _ = await this.changes.take();
    const paths = (await this.locate(number)) ?? this.paths.staged(number);
    await syncDirectory(paths.directory);
    await this.#move(paths, this.paths.release(number));
  }

  /** Removes the tree of a release and keeps its records in releases/N. Continues a removal that a crash interrupted. */
  protected async strip(number: number): Promise<void> {
    using _ = await this.changes.take();
    const removing = this.#removing(number);
    const paths = await this.locate(number);
    if (paths === undefined) return;
    if (paths.directory !== removing.directory) await this.#move(paths, removing);
    await this.#empty(removing.directory, recordsName);
    // The list of its files may be long, and the record of a removed release stays for the history.
    await rm(removing.assets, { force: true });
    await this.#move(removing, this.paths.release(number));
  }

  /**
   * Moves a release aside, so that nothing uses its tree any more.
   * @returns removes the tree, and moves the records to releases/N. Nothing else may change the release meanwhile, except its record
   */
  protected async setAside(number: number): Promise<() => Promise<void>> {
    using _ = await this.changes.take();
    const removing = this.#removing(number);
    await this.#move(this.paths.release(number), removing);
    return async () => {
      await this.#empty(removing.directory, recordsName);
      await rm(removing.assets, { force: true });
      using _ = await this.changes.take();
      await this.#move(removing, this.paths.release(number));
    };
  }

  /** Removes a release with its records. */
  protected async drop(number: number): Promise<void> {
    using _ = await this.changes.take();
    const aside = join(this.paths.staging, `.dropped-${number}`);
    await rename(this.paths.release(number).directory, aside);
    await this.#remove(aside);
  }

  /** Continues removals that a crash interrupted. */
  protected async resumeRemovals(): Promise<void> {
    for (const name of await listDirectory(this.paths.staging)) {
      const number = /^\.removing-([1-9]\d*)$/.exec(name)?.[1];
      if (number !== undefined) await this.strip(Number(number));
    }
  }

  /** Removes everything in staging. */
  protected async clearStaging(): Promise<void> {
    for (const name of await listDirectory(this.paths.staging)) {
      await this.#remove(join(this.paths.staging, name));
    }
  }

  async #remove(tree: string): Promise<void> {
    await this.#empty(tree, recordsName);
    await removeTree(tree);
  }

  #removing(number: number): ReleasePaths {
    return new ReleasePaths(join(this.paths.staging, `.removing-${number}`));
  }

  async #move(from: ReleasePaths, to: ReleasePaths): Promise<void> {
    await rename(from.directory, to.directory);
    if (from.directory === this.paths.built.directory) this.#building = undefined;
    await syncDirectory(this.paths.releases);
    await syncDirectory(this.paths.staging);
  }
}

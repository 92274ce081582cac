import { opendirSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentPaths, ReleasePaths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
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
 *     staging/N  →  releases/N                    publish
 *     staging/N, releases/N  →  staging/.removing-N  →  releases/N    strip: only the records remain
 *
 * Each arrow is one rename, so a release is always in exactly one directory. No move needs disk space, so a full disk can be
 * emptied.
 */
export class ReleaseDirectories {
  readonly #paths: EnvironmentPaths;
  readonly #empty: EmptyTree;
  /** releases without a tree; a removed tree never returns */
  readonly #bare = new Set<number>();

  constructor(paths: EnvironmentPaths, empty: EmptyTree) {
    this.#paths = paths;
    this.#empty = empty;
  }

  /** Creates staging/N for the next number. Two callers never get the same number. */
  async claim(): Promise<number> {
    await ensurePrivateDirectory(this.#paths.staging);
    await ensurePrivateDirectory(this.#paths.releases);
    for (;;) {
      const number = Math.max(0, ...(await this.numbers())) + 1;
      try {
        // Other users cannot enter, whatever the modes of unpacked files are.
        await mkdir(this.#paths.staged(number).directory, { mode: 0o700 });
      } catch (error) {
        if (systemCode(error) === 'EEXIST') continue;
        throw error;
      }
      await syncDirectory(this.#paths.staging);
      return number;
    }
  }

  /** Returns the numbers of all releases, the newest first. */
  async numbers(): Promise<number[]> {
    // Staging first: a release that is published meanwhile then appears twice, not never, and its number is not
    // assigned again.
    const names = [
      ...(await listDirectory(this.#paths.staging)),
      ...(await listDirectory(this.#paths.releases)),
    ];
    const numbers = names.flatMap((name) => /^(?:\.removing-)?([1-9]\d*)$/.exec(name)?.[1] ?? []);
    return [...new Set(numbers.map(Number))].sort((a, b) => b - a);
  }

  /** Returns all possible paths of a release, in the order of its moves, so that a search cannot miss it. */
  candidates(number: number): ReleasePaths[] {
    const published = this.#paths.release(number);
    return [this.#paths.staged(number), published, this.#removing(number), published];
  }

  /** Returns the current paths of a release; undefined if it does not exist. */
  async locate(number: number): Promise<ReleasePaths | undefined> {
    for (const paths of this.candidates(number)) {
      if (await exists(paths.directory)) return paths;
    }
    return undefined;
  }

  /**
   * Returns true if the files of a published release exist, not only its records. Each deploy calls this for all releases, so the
   * directory of a release without a tree is read only once.
   */
  async hasTree(number: number): Promise<boolean> {
    if (this.#bare.has(number)) return false;
    const entry = otherEntry(this.#paths.release(number).directory, recordsName);
    if (entry === null) this.#bare.add(number);
    return typeof entry === 'string';
  }

  async publish(number: number): Promise<void> {
    // Numbers start again if the directory of the app was removed.
    this.#bare.delete(number);
    await syncDirectory(this.#paths.staged(number).directory);
    await this.#move(this.#paths.staged(number), this.#paths.release(number));
  }

  /** Removes the tree of a release and keeps its records in releases/N. Continues a removal that a crash interrupted. */
  async strip(number: number): Promise<void> {
    const removing = this.#removing(number);
    const paths = await this.locate(number);
    if (paths === undefined) return;
    if (paths.directory !== removing.directory) await this.#move(paths, removing);
    await this.#empty(removing.directory, recordsName);
    await this.#move(removing, this.#paths.release(number));
  }

  /** Removes a release with its records. */
  async drop(number: number): Promise<void> {
    this.#bare.delete(number);
    const aside = join(this.#paths.staging, `.dropped-${number}`);
    await rename(this.#paths.release(number).directory, aside);
    await this.#remove(aside);
  }

  /** Continues removals that a crash interrupted. */
  async resumeRemovals(): Promise<void> {
    for (const name of await listDirectory(this.#paths.staging)) {
      const number = /^\.removing-([1-9]\d*)$/.exec(name)?.[1];
      if (number !== undefined) await this.strip(Number(number));
    }
  }

  /** Removes everything in staging. */
  async clearStaging(): Promise<void> {
    for (const name of await listDirectory(this.#paths.staging)) {
      await this.#remove(join(this.#paths.staging, name));
    }
  }

  async #remove(tree: string): Promise<void> {
    await this.#empty(tree, recordsName);
    await removeTree(tree);
  }

  #removing(number: number): ReleasePaths {
    return new ReleasePaths(join(this.#paths.staging, `.removing-${number}`));
  }

  async #move(from: ReleasePaths, to: ReleasePaths): Promise<void> {
    await rename(from.directory, to.directory);
    await syncDirectory(this.#paths.releases);
    await syncDirectory(this.#paths.staging);
  }
}

/**
 * Returns an entry of a directory with another name than `name`; null if there is none, undefined if there is no directory. Reads
 * at most two of the entries, which may be very many. Uses synchronous calls, because an open directory takes a descriptor and a
 * buffer of 32 KB in the C library: callers ask for all releases at once, and must not open hundreds of directories.
 */
function otherEntry(path: string, name: string): string | null | undefined {
  try {
    using directory = opendirSync(path, { bufferSize: 2 });
    let entry = directory.readSync();
    if (entry?.name === name) entry = directory.readSync();
    return entry === null ? null : entry.name;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

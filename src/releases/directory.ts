import { opendirSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type EnvironmentPaths, ReleasePaths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, listDirectory, syncDirectory } from '../system/fs/files.ts';
import { removeTree } from '../system/fs/remove-tree.ts';

/** Our records in a release's tree. An app's own file of this name is refused when it is received. */
export const recordsName = '.sluice';

/** Removes what is in the tree of a release, but for one name. */
export type EmptyTree = (directory: string, except: string) => Promise<void>;

/**
 * Where the releases of one target lie, and how they move:
 *
 *     staging/N  →  releases/N                    published
 *     staging/N, releases/N  →  staging/.removing-N  →  releases/N    the tree is gone, the records are back
 *
 * Every arrow is one rename, so a release always lies in exactly one place, whole or marked as going. None of them
 * needs disk space: a full disk can be emptied.
 */
export class ReleaseDirectories {
  readonly #paths: EnvironmentPaths;
  readonly #empty: EmptyTree;
  /** releases without a tree: a removed tree never comes back */
  readonly #bare = new Set<number>();

  constructor(paths: EnvironmentPaths, empty: EmptyTree) {
    this.#paths = paths;
    this.#empty = empty;
  }

  /** Creates staging/N for the next number. The directory is the claim: no two callers get the same. */
  async claim(): Promise<number> {
    await ensurePrivateDirectory(this.#paths.staging);
    await ensurePrivateDirectory(this.#paths.releases);
    for (;;) {
      const number = Math.max(0, ...(await this.numbers())) + 1;
      try {
        // Closed, whatever modes there are in what is unpacked there.
        await mkdir(this.#paths.staged(number).directory, { mode: 0o700 });
      } catch (error) {
        if (systemCode(error) === 'EEXIST') continue;
        throw error;
      }
      await syncDirectory(this.#paths.staging);
      return number;
    }
  }

  /** Numbers of all releases, wherever they lie, the newest first. */
  async numbers(): Promise<number[]> {
    // Staging first: a release that is published meanwhile is then seen twice rather than not at all, and its
    // number is not given out again.
    const names = [
      ...(await listDirectory(this.#paths.staging)),
      ...(await listDirectory(this.#paths.releases)),
    ];
    const numbers = names.flatMap((name) => /^(?:\.removing-)?([1-9]\d*)$/.exec(name)?.[1] ?? []);
    return [...new Set(numbers.map(Number))].sort((a, b) => b - a);
  }

  /** The places to look for a release in, in the order in which it moves through them: it cannot slip past. */
  candidates(number: number): ReleasePaths[] {
    const published = this.#paths.release(number);
    return [this.#paths.staged(number), published, this.#removing(number), published];
  }

  /** Where a release lies now; undefined where there is none of this number. */
  async locate(number: number): Promise<ReleasePaths | undefined> {
    for (const place of this.candidates(number)) {
      if (await exists(place.directory)) return place;
    }
    return undefined;
  }

  /**
   * Returns true if the files of a published release are there, not only its records. Each deploy asks for all releases of the
   * history, so the directory of a release without a tree is read only once.
   */
  async hasTree(number: number): Promise<boolean> {
    if (this.#bare.has(number)) return false;
    const entry = otherEntry(this.#paths.release(number).directory, recordsName);
    if (entry === null) this.#bare.add(number);
    return typeof entry === 'string';
  }

  async publish(number: number): Promise<void> {
    // Numbers begin again if the directory of the app was removed.
    this.#bare.delete(number);
    await syncDirectory(this.#paths.staged(number).directory);
    await this.#move(this.#paths.staged(number), this.#paths.release(number));
  }

  /** Removes the tree of a release and leaves its records in releases/N; goes on where a crash interrupted it. */
  async strip(number: number): Promise<void> {
    const removing = this.#removing(number);
    const place = await this.locate(number);
    if (place === undefined) return;
    if (place.directory !== removing.directory) await this.#move(place, removing);
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

  /** Goes on with removals that a crash interrupted. */
  async resumeRemovals(): Promise<void> {
    for (const name of await listDirectory(this.#paths.staging)) {
      const number = /^\.removing-([1-9]\d*)$/.exec(name)?.[1];
      if (number !== undefined) await this.strip(Number(number));
    }
  }

  /** Removes all that is in staging. */
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
 * Returns an entry of a directory with another name than `name`; null if there is none, undefined if there is no directory. Stops
 * at the first one: a directory may have very many. Uses synchronous calls, because an open directory takes a descriptor and a
 * buffer of 32 KB in the C library: a caller that asks for all releases at once must not have hundreds of directories open.
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

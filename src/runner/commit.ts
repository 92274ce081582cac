import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { leftTemporaries, syncDirectory, temporaryBeside, writeSynced } from '../system/fs/files.ts';

interface Replacement {
  temporary: string;
  path: string;
}

/**
 * The commit of a switch: which generation, of which release, is active. Prepared before the gates are shut and
 * synced after they are open, so that no wait for the disk falls into the gap; the gap itself has two renames.
 *
 * The generation file is the truth and is renamed first; `current` follows it, and is put right at the next start
 * should we die between the two.
 */
export class Commit {
  readonly #generation: Replacement;
  readonly #current: Replacement;

  /**
   * @param paths as they are safe to be used
   * @param currentLink what `current` leads to, relative
   */
  constructor(
    paths: { current: string; generation: string },
    active: { generation: number; release: number; handoff: string },
    currentLink: string,
  ) {
    this.#generation = { temporary: temporaryBeside(paths.generation), path: paths.generation };
    this.#current = { temporary: temporaryBeside(paths.current), path: paths.current };
    try {
      writeSynced(this.#generation.temporary, `${JSON.stringify(active)}\n`, 0o644);
      symlinkSync(currentLink, this.#current.temporary);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /**
   * Removes temporary files that failed switches have left beside the generation file. Removes only files and links of
   * processes that are gone, and never the content of a directory: the server may write here.
   */
  static async sweep(generation: string): Promise<void> {
    const directory = dirname(generation);
    for (const name of await leftTemporaries(directory)) removeFile(join(directory, name));
  }

  /**
   * @returns why `current` could not be replaced, if so: the switch is made all the same
   * @throws when nothing has been changed
   */
  apply(): unknown {
    renameSync(this.#generation.temporary, this.#generation.path);
    try {
      renameSync(this.#current.temporary, this.#current.path);
      return undefined;
    } catch (error) {
      removeFile(this.#current.temporary);
      return error;
    }
  }

  async sync(): Promise<void> {
    await syncDirectory(dirname(this.#generation.path));
  }

  /** Removes the prepared files. If the disk refuses, they are removed before the next switch. */
  discard(): void {
    removeFile(this.#generation.temporary);
    removeFile(this.#current.temporary);
  }
}

function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // See `discard`: a switch must go on, or the old generation must open again, even if this file stays.
  }
}

import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { ActiveRelease, GenerationSpec } from '../protocol/runner.ts';
import { syncDirectory, writeSynced } from '../system/fs/files.ts';
import { leftTemporaries, temporaryBeside } from '../system/fs/temporaries.ts';

/** Temporary file and the path that it replaces. */
interface Replacement {
  temporary: string;
  path: string;
}

/**
 * Commit of a switch: the files that name the active generation and its release. `prepare` comes before the old workers
 * retire, and `sync` after the new workers are open, so the pause between them contains only two renames.
 *
 * The generation file is the truth, and is renamed first. If the runner dies between the two renames, the next start repairs
 * the link `current`.
 */
export class Commit {
  readonly #generation: Replacement;
  readonly #current: Replacement;

  private constructor(generation: string, current: string) {
    this.#generation = { temporary: temporaryBeside(generation), path: generation };
    this.#current = { temporary: temporaryBeside(current), path: current };
  }

  /**
   * Writes the files, and removes temporary files of failed switches.
   * @param safePath returns the path by which a file is safe to use
   * @throws the error of the system
   */
  static async prepare(
    { paths, directory }: Pick<GenerationSpec, 'paths' | 'directory'>,
    active: ActiveRelease,
    safePath: (path: string) => string,
  ): Promise<Commit> {
    const commit = new Commit(safePath(paths.generation), safePath(paths.current));
    await commit.#sweep();
    try {
      writeSynced(commit.#generation.temporary, `${JSON.stringify(active)}\n`, 0o644);
      symlinkSync(relative(dirname(paths.current), directory), commit.#current.temporary);
    } catch (error) {
      commit.discard();
      throw error;
    }
    return commit;
  }

  /** Removes files and links of processes that are gone, but no directory: the server may write here. */
  async #sweep(): Promise<void> {
    const directory = dirname(this.#generation.path);
    for (const name of await leftTemporaries(directory)) removeFile(join(directory, name));
  }

  /**
   * Makes the generation active.
   * @returns the error if `current` could not be replaced; the generation is active all the same
   * @throws the error of the system; nothing has changed then
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

  /** Waits until the renames are on the disk. */
  async sync(): Promise<void> {
    await syncDirectory(dirname(this.#generation.path));
  }

  /** Removes the prepared files. */
  discard(): void {
    removeFile(this.#generation.temporary);
    removeFile(this.#current.temporary);
  }
}

function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The next switch removes the file. This switch must continue, or the old generation must open again.
  }
}

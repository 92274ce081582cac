import { closeSync, fsyncSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncDirectory, temporaryBeside } from '../system/files.ts';

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
    active: { generation: number; release: number },
    currentLink: string,
  ) {
    this.#generation = { temporary: temporaryBeside(paths.generation), path: paths.generation };
    this.#current = { temporary: temporaryBeside(paths.current), path: paths.current };
    const descriptor = openSync(this.#generation.temporary, 'wx', 0o644);
    try {
      writeFileSync(descriptor, `${JSON.stringify(active)}\n`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    symlinkSync(currentLink, this.#current.temporary);
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
      return error;
    }
  }

  async sync(): Promise<void> {
    await syncDirectory(dirname(this.#generation.path));
  }

  discard(): void {
    rmSync(this.#generation.temporary, { force: true });
    rmSync(this.#current.temporary, { force: true });
  }
}

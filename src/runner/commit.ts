import { closeSync, fsyncSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
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

  constructor(
    paths: { current: string; generation: string },
    active: { generation: number; release: number },
    releaseDirectory: string,
  ) {
    this.#generation = { temporary: temporaryBeside(paths.generation), path: paths.generation };
    this.#current = { temporary: temporaryBeside(paths.current), path: paths.current };
    writeFileSync(this.#generation.temporary, `${JSON.stringify(active)}\n`, { mode: 0o644 });
    const descriptor = openSync(this.#generation.temporary, 'r');
    fsyncSync(descriptor);
    closeSync(descriptor);
    symlinkSync(relative(dirname(paths.current), releaseDirectory), this.#current.temporary);
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

import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import type { ActiveRelease, GenerationSpec } from '../protocol/runner.ts';
import { syncDirectory, writeSynced } from '../system/fs/files.ts';
import { leftTemporaries, temporaryBeside } from '../system/fs/temporaries.ts';

/**
 * Writes the files that name the active generation and its release. They are prepared before the old workers retire, and synced
 * after the new workers are open, so the pause between them contains only two renames.
 *
 * The generation file is the truth, and is renamed first. If the runner dies between the two renames, the next start repairs
 * the link `current`. Removes files of failed switches, but no directory: the server may write here.
 * @param safePath returns the path by which a file is safe to use
 * @throws AppError `switch_failed`
 */
export async function prepareCommit(
  { paths, directory }: Pick<GenerationSpec, 'paths' | 'directory'>,
  active: ActiveRelease,
  safePath: (path: string) => string,
) {
  const generation = written(() => safePath(paths.generation));
  const current = written(() => safePath(paths.current));
  const home = dirname(generation);
  const newGeneration = temporaryBeside(generation);
  const newCurrent = temporaryBeside(current);
  const discard = () => {
    removeFile(newGeneration);
    removeFile(newCurrent);
  };
  try {
    for (const name of await leftTemporaries(home)) removeFile(join(home, name));
    writeSynced(newGeneration, `${JSON.stringify(active)}\n`, 0o644);
    symlinkSync(relative(dirname(paths.current), directory), newCurrent);
  } catch (error) {
    discard();
    throw notWritten(error);
  }
  return {
    /**
     * Makes the generation active.
     * @returns the error if `current` could not be replaced; the generation is active all the same
     * @throws AppError `switch_failed`; nothing has changed then
     */
    apply(): unknown {
      written(() => renameSync(newGeneration, generation));
      try {
        renameSync(newCurrent, current);
        return undefined;
      } catch (error) {
        removeFile(newCurrent);
        return error;
      }
    },
    /** Waits until the renames are on the disk. */
    sync: () => syncDirectory(home),
    /** Removes the prepared files. */
    discard,
  };
}

function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The next switch removes the file. This switch must continue, or the old generation must open again.
  }
}

/** Returns the result of `act`. @throws AppError `switch_failed` instead of the error of `act` */
function written<Result>(act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    throw notWritten(error);
  }
}

function notWritten(error: unknown): AppError {
  const message = `the switch could not be written to disk: ${(error as Error).message}`;
  const hint = 'Check whether the disk is full or read-only. The release before is still live.';
  return new AppError('switch_failed', message, { hint, cause: error });
}

import { once } from 'node:events';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { AppError, isDiskFull, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../../system/fs/exists.ts';
import { syncDirectory } from '../../system/fs/files.ts';
import { temporaryBeside } from '../../system/fs/temporaries.ts';
import { UsageError } from '../failure.ts';

interface Output extends AsyncDisposable {
  /** Fulfilled when the output accepts more. */
  put: (chunk: Buffer) => Promise<void>;
  /** Completes the output and puts it in place. @returns the size in bytes */
  finish: () => Promise<number>;
}

/**
 * Opens a compressed output for a backup. A file appears, or replaces an earlier one, when it is complete and on the disk.
 * Only this user can read it, because a backup has secrets.
 * @param to a path, or `-` for standard output
 */
export async function openOutput(to: string): Promise<Output> {
  if (to === '-') {
    if (!process.stdout.isTTY) return compress(process.stdout);
    throw new UsageError(
      'standard output is a terminal, which cannot show a backup',
      'Name a file, or redirect the output: sluice backup - > FILE',
    );
  }
  const path = resolve(to);
  if ((await ifThere(stat(path)))?.isDirectory()) throw new UsageError(`${to} is a directory`);
  const temporary = temporaryBeside(path);
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') throw new UsageError(`directory ${dirname(path)} not found`);
    throw error;
  });
  // `flush` syncs the file before it is closed.
  const compressed = compress(handle.createWriteStream({ flush: true }));
  return {
    put: compressed.put,
    async finish() {
      const size = await compressed.finish();
      await rename(temporary, path);
      await syncDirectory(dirname(path));
      return size;
    },
    async [Symbol.asyncDispose]() {
      await compressed[Symbol.asyncDispose]();
      await rm(temporary, { force: true });
    },
  };
}

/** Compresses chunks to a target, and keeps no more of them in memory than gzip accepts at once. */
function compress(target: Writable): Output {
  // Takes a third of the processor time of the default level, for a file that is a tenth larger: apps run meanwhile.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  let size = 0;
  gzip.on('data', (chunk: Buffer) => {
    size += chunk.length;
  });
  const finished = pipeline(gzip, target).catch((error: unknown) => {
    throw explained(error);
  });
  // Reported by the next `put` or `finish`.
  finished.catch(() => undefined);
  return {
    async put(chunk) {
      // A failed write also destroys gzip: `finished` has the explained error.
      if (!gzip.write(chunk)) await Promise.race([once(gzip, 'drain').catch(() => finished), finished]);
    },
    async finish() {
      gzip.end();
      await finished;
      return size;
    },
    async [Symbol.asyncDispose]() {
      gzip.destroy();
      await finished.catch(() => undefined);
    },
  };
}

function explained(error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new AppError('disk_full', 'the disk is full', {
    hint: 'The incomplete backup is removed. Leave out `--releases`, add `--no-shared`, or write to another disk.',
    cause: error,
  });
}

import { once } from 'node:events';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
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
  if (to === '-') return toStdout();
  const path = resolve(to);
  if ((await ifThere(stat(path)))?.isDirectory()) throw new UsageError(`${to} is a directory`);
  const temporary = temporaryBeside(path);
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') throw new UsageError(`directory ${dirname(path)} not found`);
    throw error;
  });
  const compressed = compress((chunk) => writeAll(handle, chunk));
  let finished = false;
  return {
    put: compressed.put,
    async finish() {
      const size = await compressed.end();
      await handle.sync();
      await handle.close();
      await rename(temporary, path);
      finished = true;
      await syncDirectory(dirname(path));
      return size;
    },
    async [Symbol.asyncDispose]() {
      if (finished) return;
      compressed.abandon();
      await handle.close();
      await rm(temporary, { force: true });
    },
  };
}

function toStdout(): Output {
  if (process.stdout.isTTY) {
    throw new UsageError(
      'standard output is a terminal, which cannot show a backup',
      'Name a file, or redirect the output: sluice backup - > FILE',
    );
  }
  const { put, end, abandon } = compress(async (chunk) => {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  });
  return { put, finish: end, [Symbol.asyncDispose]: async () => abandon() };
}

/** Compresses chunks, and keeps no more of them in memory than gzip accepts at once. */
function compress(write: (chunk: Buffer) => Promise<void>) {
  // Takes a third of the processor time of the default level, for a file that is a tenth larger: apps run meanwhile.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  let size = 0;
  const finished = pipeline(gzip, async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      size += chunk.length;
      await write(chunk);
    }
  }).catch((error: unknown) => {
    throw explained(error);
  });
  // Reported by the next `put` or `end`.
  finished.catch(() => undefined);
  return {
    async put(chunk: Buffer): Promise<void> {
      // A failed write also destroys gzip: `finished` has the explained error.
      if (!gzip.write(chunk)) await Promise.race([once(gzip, 'drain').catch(() => finished), finished]);
    },
    async end(): Promise<number> {
      gzip.end();
      await finished;
      return size;
    },
    abandon: () => void gzip.destroy(),
  };
}

async function writeAll(handle: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten;
}

function explained(error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new AppError('disk_full', 'the disk is full', {
    hint: 'The incomplete backup is removed. Leave out `--releases`, add `--no-shared`, or write to another disk.',
    cause: error,
  });
}

import { once } from 'node:events';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Writable } from 'node:stream';
import { constants, createGzip } from 'node:zlib';
import { AppError, isDiskFull, systemCode } from '../../errors/app-error.ts';
import { ifThere } from '../../system/fs/exists.ts';
import { syncDirectory, temporaryBeside } from '../../system/fs/files.ts';
import { UsageError } from '../failure.ts';

interface Output extends AsyncDisposable {
  /** Fulfilled when more can be taken. */
  put: (chunk: Buffer) => Promise<void>;
  /** What has been put is whole, and is there under its name when this returns; its size in bytes. */
  finish: () => Promise<number>;
}

/**
 * Where a backup goes, compressed. A file appears, or takes the place of an earlier one, when it is whole and on the disk:
 * until then what is written lies beside it, and is gone where it comes to nothing. It holds secrets: nobody else may read it.
 * @param to a path, or `-` for standard output
 */
export async function openOutput(to: string): Promise<Output> {
  if (to === '-') return toStdout();
  const path = resolve(to);
  if ((await ifThere(stat(path)))?.isDirectory()) throw new UsageError(`${to} is a directory`);
  const temporary = temporaryBeside(path);
  const handle = await open(temporary, 'wx', 0o600).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') throw new UsageError(`there is no directory ${dirname(path)}`);
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
      'a backup is nothing for a terminal',
      'Name a file, or send it on: sluice backup - > FILE',
    );
  }
  const { put, end, abandon } = compress(async (chunk) => {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  });
  return { put, finish: end, [Symbol.asyncDispose]: async () => abandon() };
}

/** Gzip, with no more of it waiting than it takes at once. */
function compress(write: (chunk: Buffer) => Promise<void>) {
  // A third of the processor time of the usual level, for a file that is a tenth larger: apps work beside it.
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  let size = 0;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      write(chunk).then(() => done(), done);
    },
  });
  const over = new Promise<void>((resolve, reject) => {
    sink.on('finish', resolve);
    for (const stream of [gzip, sink]) stream.on('error', (error) => reject(explained(error)));
  });
  over.catch(() => gzip.destroy());
  gzip.pipe(sink);
  return {
    async put(chunk: Buffer): Promise<void> {
      if (!gzip.write(chunk)) await Promise.race([once(gzip, 'drain'), over]);
    },
    async end(): Promise<number> {
      gzip.end();
      await over;
      return size;
    },
    abandon(): void {
      gzip.destroy();
      sink.destroy();
    },
  };
}

async function writeAll(handle: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten;
}

function explained(error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new AppError('disk_full', 'the disk was full before the backup was written', {
    hint: 'What was written of it is gone again. `--releases` makes it larger, `--no-shared` smaller; `-` sends it elsewhere.',
    cause: error,
  });
}

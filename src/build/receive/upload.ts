import { finished, PassThrough, type Readable, type Transform } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { patientTimer } from '../../system/concurrency/deadline.ts';
import { aborted, stalled, truncated, unreadable, uploadTooLarge } from './archive-errors.ts';
import type { ArchiveLimits } from './receive.ts';

/** What has come in so far. */
export interface Tally {
  bytes: number;
}

/**
 * The chunks of an upload as they come in. A body that is not read to its end is left as it is, with none of our
 * listeners on it: whoever answers the sender decides whether to read on or to hang up.
 * @throws AppError `upload_too_large`, `upload_stalled`, `upload_aborted`; the signal's reason
 */
export async function* readBody(
  body: Readable,
  limits: ArchiveLimits,
  { signal, tally }: { signal: AbortSignal; tally: Tally },
): AsyncGenerator<Buffer> {
  let end: { failure: unknown } | undefined;
  let wake = () => {};
  const onReadable = () => wake();
  const stopWatching = finished(body, { writable: false }, (failure) => {
    end = { failure };
    wake();
  });
  body.on('readable', onReadable);
  try {
    for (;;) {
      signal.throwIfAborted();
      const chunk = body.read() as Buffer | null;
      if (chunk !== null) {
        tally.bytes += chunk.length;
        if (tally.bytes > limits.maxUploadBytes) throw uploadTooLarge(limits);
        yield chunk;
      } else if (end !== undefined) {
        if (end.failure instanceof AppError) throw end.failure;
        if (end.failure) throw aborted(tally.bytes, end.failure);
        return;
      } else {
        const news = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await interruptible(news, limits.uploadTimeout, signal, () => stalled(limits, tally.bytes));
      }
    }
  } finally {
    body.off('readable', onReadable);
    stopWatching();
  }
}

/** Waits for `news`, but not longer than `timeout` milliseconds, and not past the abort of `signal`. */
async function interruptible(
  news: Promise<void>,
  timeout: number,
  signal: AbortSignal,
  onTimeout: () => Error,
): Promise<void> {
  const { promise: interruption, reject } = Promise.withResolvers<never>();
  const timer = patientTimer(() => reject(onTimeout()), timeout);
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([news, interruption]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

type Format = 'gzip' | 'zstd' | 'plain';

const magic: { bytes: number[]; format: Format | null; name: string }[] = [
  { bytes: [0x1f, 0x8b], format: 'gzip', name: 'gzip' },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], format: 'zstd', name: 'zstd' },
  { bytes: [0x50, 0x4b, 0x03, 0x04], format: null, name: 'a zip file' },
  { bytes: [0x42, 0x5a, 0x68], format: null, name: 'compressed with bzip2' },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], format: null, name: 'compressed with xz' },
];

const longestMagic = 5;

/**
 * The largest window of a zstd frame, 8 MiB: what RFC 8878 asks every decoder to support, and all that levels up to
 * 19 use. It is memory that the sender makes us take; the default allows 128 MiB.
 */
const zstdWindowLog = 23;

/**
 * A stream that decompresses what begins with `head`, told by content: the name and the type that a sender gives
 * are often wrong. Plain data passes through. The default chunks of 16 KiB are best: an upload of 200 MiB takes
 * 22 MiB of memory with them, and 34 MiB with chunks of 64 KiB, at the same speed.
 * @throws AppError `archive_unreadable` where it is something else that can be named
 */
export function decompressor(head: Buffer): Transform {
  const format = detect(head);
  switch (format) {
    case 'gzip':
      return createGunzip();
    case 'zstd':
      return createZstdDecompress({
        params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog },
      });
    case 'plain':
      return new PassThrough();
  }
}

function detect(head: Buffer): Format {
  const known = magic.find(({ bytes }) => bytes.every((byte, index) => head[index] === byte));
  if (known === undefined) return 'plain';
  if (known.format === null) throw unreadable(`the upload is ${known.name}`);
  return known.format;
}

/** Refuses data that is compressed still after decompression: the tar parser would unpack it without our bounds. */
export function assertNotCompressed(head: Buffer): void {
  if (detect(head) !== 'plain') throw unreadable('the archive is compressed twice');
}

/** What an error of a decompressor says about the archive; any other error as it is. */
export function explain(error: unknown): unknown {
  const code = systemCode(error) ?? '';
  if (code === 'Z_BUF_ERROR') return truncated(error);
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    return unreadable('the archive takes too much memory to decompress', {
      hint: 'Compress it with `zstd -19` or lower, without --long.',
      cause: error,
    });
  }
  // ABORT_ERR: something that is no zstd frame follows the last one.
  if (!/^(?:Z_|ZSTD_|ABORT_ERR$)/.test(code)) return error;
  return unreadable(`the compressed data is damaged: ${(error as Error).message}`, { cause: error });
}

/** Reads until the first bytes tell the format; what was read comes again from `all`. */
export async function peek(
  chunks: AsyncGenerator<Buffer>,
): Promise<{ head: Buffer; all: AsyncGenerator<Buffer> }> {
  let head = Buffer.alloc(0);
  while (head.length < longestMagic) {
    const { value, done } = await chunks.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  return { head, all: prepend(head, chunks) };
}

async function* prepend(head: Buffer, chunks: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* chunks;
}

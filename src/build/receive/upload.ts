import { addAbortListener } from 'node:events';
import { finished, PassThrough, type Readable, type Transform } from 'node:stream';
import { constants, createGunzip, createZstdDecompress } from 'node:zlib';
import { AppError, systemCode } from '../../errors/app-error.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import { truncated, unreadable } from './archive-errors.ts';
import type { ArchiveLimits } from './receive.ts';

/** Number of bytes received so far. */
export interface Tally {
  bytes: number;
}

/**
 * Yields the chunks of an upload as they arrive. Never destroys the body, and removes all listeners: the caller decides to read
 * the rest or to close the connection.
 * @throws AppError `upload_too_large`, `upload_stalled`, `upload_aborted`; the reason of the signal
 */
export async function* readBody(
  body: Readable,
  limits: ArchiveLimits,
  { signal, tally }: { signal: AbortSignal; tally: Tally },
): AsyncGenerator<Buffer> {
  let end: { failure: unknown } | undefined;
  let wake = () => {};
  const onReadable = () => wake();
  using _ = addAbortListener(signal, onReadable);
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
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const { timedOut } = await withDeadline(promise, limits.uploadTimeout);
        if (timedOut) throw stalled(limits, tally.bytes);
      }
    }
  } finally {
    body.off('readable', onReadable);
    stopWatching();
  }
}

/** @param announced bytes in the header of the request */
export function uploadTooLarge({ maxUploadBytes }: ArchiveLimits, announced?: number): AppError {
  const size = announced === undefined ? 'larger' : `${formatBytes(announced)}, more`;
  const message = `the upload is ${size} than the limit of ${formatBytes(maxUploadBytes)}`;
  return new AppError('upload_too_large', message, {
    hint: 'Leave out node_modules and data, or raise "maxUploadBytes" in config.json.',
  });
}

function stalled({ uploadTimeout }: ArchiveLimits, received: number): AppError {
  return new AppError(
    'upload_stalled',
    `the upload stopped for ${formatDuration(uploadTimeout)} after ${formatBytes(received)}`,
    { hint: 'Send the archive again. On a slow connection, raise "uploadTimeout" in config.json.' },
  );
}

function aborted(received: number, cause: unknown): AppError {
  return new AppError('upload_aborted', `the sender disconnected after ${formatBytes(received)}`, {
    hint: 'Send the archive again.',
    cause,
  });
}

/**
 * Largest window of a zstd frame, as a power of two: 8 MiB, which RFC 8878 asks every decoder to support, and which levels up to
 * 19 use. The sender controls this memory; the default allows 128 MiB.
 */
const zstdWindow = { params: { [constants.ZSTD_d_windowLogMax]: 23 } };

const packAgain =
  'Send a tar archive: run `tar czf app.tar.gz --exclude node_modules .` in the directory of the app, and send it with `curl --data-binary @app.tar.gz`. Or run `sluice deploy` there.';

/** Formats by their first bytes. */
const formats: { magic: number[]; name: string; hint?: string; decompress?: () => Transform }[] = [
  { magic: [0x1f, 0x8b], name: 'compressed with gzip', decompress: () => createGunzip() },
  {
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    name: 'compressed with zstd',
    decompress: () => createZstdDecompress(zstdWindow),
  },
  { magic: [0x50, 0x4b, 0x03, 0x04], name: 'a zip file', hint: packAgain },
  { magic: [0x52, 0x61, 0x72, 0x21, 0x1a, 0x07], name: 'a rar file', hint: packAgain },
  { magic: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], name: 'a 7z file', hint: packAgain },
  { magic: [0x42, 0x5a, 0x68], name: 'compressed with bzip2' },
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], name: 'compressed with xz' },
];

/** Beginning of a form with files: RFC 7578, section 4. */
const form = /^--[^\r\n]{1,100}\r\nContent-Disposition: form-data/i;

function formatOf(head: Buffer) {
  return formats.find(({ magic }) => magic.every((byte, index) => head[index] === byte));
}

/**
 * Returns a stream that decompresses data by its first bytes, because the names and types of senders are often wrong. Plain
 * data passes through. An upload of 200 MiB takes 22 MiB of memory with the default chunks of 16 KiB, and 34 MiB with chunks of
 * 64 KiB, at the same speed.
 * @throws AppError `archive_unreadable` for another known format
 */
export function decompressor(head: Buffer): Transform {
  if (form.test(head.toString('latin1', 0, 300)))
    throw unreadable('the upload is a form, as `curl -F` sends it');
  const format = formatOf(head);
  if (format === undefined) return new PassThrough();
  const { name, hint, decompress } = format;
  if (decompress !== undefined) return decompress();
  throw unreadable(`the upload is ${name}`, hint === undefined ? {} : { hint });
}

/** Rejects data that is still compressed: the tar parser would decompress it without limits. */
export function assertNotCompressed(head: Buffer): void {
  if (formatOf(head) !== undefined) throw unreadable('the archive is compressed twice');
}

/** Returns the AppError for an error of a decompressor; returns any other error unchanged. */
export function explain(error: unknown): unknown {
  const code = systemCode(error) ?? '';
  if (code === 'Z_BUF_ERROR') return truncated(error);
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    return unreadable('the archive takes too much memory to decompress', {
      hint: 'Compress it with `zstd -19` or lower, without --long.',
      cause: error,
    });
  }
  // ABORT_ERR: the data after the last zstd frame is not a zstd frame.
  if (!/^(?:Z_|ZSTD_|ABORT_ERR$)/.test(code)) return error;
  return unreadable(`the compressed data is damaged: ${(error as Error).message}`, { cause: error });
}

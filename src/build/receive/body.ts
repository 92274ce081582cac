import { finished, type Readable } from 'node:stream';
import { AppError } from '../../errors/app-error.ts';
import { patientTimer } from '../../system/concurrency/deadline.ts';
import { aborted, stalled, uploadTooLarge } from './archive-errors.ts';
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

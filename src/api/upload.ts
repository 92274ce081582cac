import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { AppError } from '../errors/app-error.ts';

/**
 * The body of a request as a stream of its own. Whoever reads it may destroy it (a pipeline does, on any error)
 * without ending the connection, on which the reason is yet to be told.
 */
export function uploadBody(request: IncomingMessage): Readable {
  const push = (chunk: Buffer) => {
    if (!body.push(chunk)) request.pause();
  };
  const end = () => body.push(null);
  const fail = (error: Error) => body.destroy(error);
  // When a connection closes, Node drops received bytes that nobody has read, even of a complete request.
  const close = () => {
    if (!request.readableEnded) body.destroy(new Error('the sender closed the connection'));
  };
  const body = new Readable({
    read: () => request.resume(),
    destroy: (error, done) => {
      request.off('data', push).off('end', end).off('error', fail).off('close', close).pause();
      done(error);
    },
  });
  // The sender may disconnect before any code reads the body. Readers find the error in the state of the stream.
  body.on('error', () => undefined);
  if (request.destroyed) close();
  request.on('data', push).on('end', end).on('error', fail).on('close', close);
  request.pause();
  return body;
}

/** How much of what is thrown away is read, in bytes, and for how long, in ms. */
const maxDrained = 64 * 1024 ** 2;
const drainTimeout = 10_000;

/**
 * Reads and throws away what is left of a request, until its sender is done or has gone, but no more than a bounded
 * amount: curl and most others stop sending as soon as they see an error, and the rest have had their chance.
 */
export function drained(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    let left = maxDrained;
    const done = () => {
      clearTimeout(timer);
      request.off('data', count).off('end', done).off('close', done);
      resolve();
    };
    const count = (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) done();
    };
    const timer = setTimeout(done, drainTimeout);
    if (request.complete || request.destroyed) return done();
    request.on('data', count).on('end', done).on('close', done).resume();
  });
}

/**
 * Refuses a body of a call whose answer ends when its client hangs up. While a body is unread, the connection does not show
 * that its client has gone; and nginx may miss the end of a client that goes while its body arrives.
 * @throws AppError `bad_request`
 */
export function refuseBody({ headers }: IncomingMessage): void {
  const length = headers['content-length'] ?? '0';
  if (headers['transfer-encoding'] === undefined && Number(length) === 0) return;
  throw new AppError('bad_request', 'This call takes no body.');
}

/** Bytes announced by the sender, or null where it did not say. */
export function announcedLength(request: IncomingMessage): number | null {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  return Number.isSafeInteger(length) ? length : null;
}

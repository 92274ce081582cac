import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import * as v from 'valibot';
import { isName } from '../config/paths.ts';
import { faultsOf } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { patientTimer } from '../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import type { ApiContext } from './context.ts';

/** Limit of a JSON body, in bytes. */
const maxBytes = 1024 ** 2;

/** Time for a whole JSON body to arrive, in ms. */
const arrivalTimeout = 60_000;

/** Schema of the only app that a token or a key may access. */
export const onlyApp = v.optional(
  v.nullable(v.pipe(v.string(), v.check(isName, 'the name of an app, such as "shop", or null'))),
  null,
);

/**
 * Reads and validates the JSON body of a request. An empty body counts as `{}`.
 * @param timeout time for the whole body to arrive, in ms
 * @throws AppError `bad_request` with all faults
 */
export async function jsonBody<Schema extends v.GenericSchema>(
  ctx: Pick<ApiContext, 'req'>,
  schema: Schema,
  timeout = arrivalTimeout,
): Promise<v.InferOutput<Schema>> {
  const result = v.safeParse(schema, parse(await readText(ctx.req, timeout)));
  if (result.success) return result.output;
  const faults = faultsOf(result.issues);
  throw new AppError('bad_request', `invalid body: ${faults.join('; ')}`, {
    hint: 'See docs/api.md for the body of each call.',
  });
}

async function readText(request: IncomingMessage, timeout: number): Promise<string> {
  const body = uploadBody(request);
  const late = `The body did not arrive within ${formatDuration(timeout)}.`;
  using _timer = patientTimer(() => body.destroy(new AppError('bad_request', late)), timeout);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      size += chunk.length;
      if (size > maxBytes)
        throw new AppError('bad_request', `the body is larger than ${formatBytes(maxBytes)}`);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError('bad_request', 'the connection was lost before the end of the body', { cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parse(body: string): unknown {
  if (body.trim() === '') return {};
  try {
    return JSON.parse(body);
  } catch {
    // The parser's message quotes the body, which may contain the values of variables.
    throw new AppError('bad_request', 'the body is not JSON');
  }
}

/**
 * Returns the body of a request as a stream of its own. A reader may destroy it, as a pipeline does on any error, and the connection
 * stays open for the answer.
 */
export function uploadBody(request: IncomingMessage): Readable {
  const body = new PassThrough({
    destroy(error, done) {
      // At once: `pipe` would do this later, and so stop a `drain` that has begun meanwhile.
      request.unpipe(body);
      done(error);
    },
  });
  // The sender may disconnect before any code reads the body. Readers find the error in the state of the stream.
  body.on('error', () => undefined);
  // When a connection closes, Node drops received bytes that nobody has read, even of a complete request.
  const close = () => {
    if (!request.readableEnded) body.destroy(new Error('The client closed the connection'));
  };
  if (request.destroyed) close();
  request.on('error', (error) => body.destroy(error)).on('close', close);
  return request.pipe(body);
}

/** Limits of `drain`: bytes, and ms. */
const maxDrained = 64 * 1024 ** 2;
const drainTimeout = 10_000;

/**
 * Reads and drops the rest of a request, until its client has sent all or has gone, or a limit is reached. curl and most other
 * clients stop sending when they see an error.
 */
export async function drain(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  let left = maxDrained;
  const { promise, resolve } = Promise.withResolvers<void>();
  using _timer = setTimeout(resolve, drainTimeout);
  const count = (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) resolve();
  };
  request.on('data', count).on('end', resolve).on('close', resolve).resume();
  await promise;
  request.off('data', count).off('end', resolve).off('close', resolve);
}

/**
 * Refuses a body of a call whose answer ends when the client disconnects. While a body is unread, the connection does not show that
 * its client has gone. nginx may miss the end of a client that disconnects while its body arrives.
 * @throws AppError `bad_request`
 */
export function refuseBody({ headers }: IncomingMessage): void {
  const length = headers['content-length'] ?? '0';
  if (headers['transfer-encoding'] === undefined && Number(length) === 0) return;
  throw new AppError('bad_request', 'this call takes no body');
}

/** Returns the Content-Length of a request, or null. */
export function announcedLength(request: IncomingMessage): number | null {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  return Number.isSafeInteger(length) ? length : null;
}

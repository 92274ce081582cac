import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import * as v from 'valibot';
import { isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import type { ApiContext } from './context.ts';

const maxBytes = 1024 ** 2;

/** Time for a whole body to arrive, in ms. */
const arrivalTimeout = 60_000;

/** The app that a token or a key is bound to. */
export const onlyApp = v.optional(
  v.nullable(v.pipe(v.string(), v.check(isName, 'the name of an app, such as "shop", or null'))),
  null,
);

/**
 * The JSON body of a request, checked; an empty one counts as `{}`.
 * @param timeout time for the whole body to arrive, in ms
 * @throws AppError `bad_request` with every fault
 */
export async function jsonBody<Schema extends v.GenericSchema>(
  ctx: ApiContext,
  schema: Schema,
  timeout = arrivalTimeout,
): Promise<v.InferOutput<Schema>> {
  const result = v.safeParse(schema, parse(await text(ctx, timeout)));
  if (result.success) return result.output;
  const faults = result.issues.map(describe);
  throw new AppError('bad_request', `the body is not right: ${faults.join('; ')}`, {
    hint: 'docs/api.md says what each call takes.',
  });
}

/** In our words where the schema has none of its own: the validator's mean nothing to whoever calls the API. */
function describe(issue: v.BaseIssue<unknown>): string {
  const place = v.getDotPath(issue) ?? 'the whole';
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${place}: there is no such field`;
  return `${place}: ${issue.message.startsWith('Invalid') ? `${issue.expected} is expected` : issue.message}`;
}

async function text(ctx: ApiContext, timeout: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Not `for await`, which would destroy the request, and the connection with it, on the way out.
  const arrived = new Promise<void>((resolve, reject) => {
    const brokeOff = (cause?: Error) => reject(new AppError('bad_request', 'the body broke off', { cause }));
    // If the client has disconnected already, no event follows.
    if (ctx.req.destroyed) brokeOff();
    ctx.req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else reject(new AppError('bad_request', `the body is larger than ${formatBytes(maxBytes)}`));
    });
    ctx.req.on('end', resolve);
    ctx.req.on('error', brokeOff);
  });
  const { timedOut } = await withDeadline(arrived, timeout);
  if (timedOut)
    throw new AppError('bad_request', `The body did not arrive within ${formatDuration(timeout)}.`);
  return Buffer.concat(chunks).toString('utf8');
}

function parse(body: string): unknown {
  if (body.trim() === '') return {};
  try {
    return JSON.parse(body);
  } catch {
    // The parser's message quotes the body, which may hold the values of variables.
    throw new AppError('bad_request', 'The body is not JSON.');
  }
}

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

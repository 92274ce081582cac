import { createRequire } from 'node:module';
import { Stream } from 'node:stream';
import Koa, { type Context, type Middleware } from 'koa';
import { AppError } from '../errors/app-error.ts';
import type { Log } from '../system/log/log.ts';
import type { ApiState } from './context.ts';
import { answerErrors } from './errors.ts';
import { identify, logLost } from './request-log.ts';

/**
 * Creates the Koa app for both APIs: it identifies and logs requests, and answers every error. No request, and no disconnect
 * at any instant, raises an exception outside the error handler.
 * @param asText returns true if errors are answered as text instead of JSON; by default only for clients of git
 */
export function createKoa(log: Log, asText?: (ctx: Context) => boolean): Koa<ApiState> {
  const app = new Koa<ApiState>();
  answerInJson(app);
  app.use((ctx, next) => {
    // If a client disconnects while no code listens to these streams, Node ends the process. Readers and writers find the
    // error in the state of the stream.
    ctx.req.on('error', () => undefined);
    ctx.res.on('error', () => undefined);
    return next();
  });
  app.use(normalizeTarget);
  app.use(identify(log));
  app.use(answerErrors(log, asText));
  app.use(assertTarget);
  app.on('error', logLost(log));
  return app;
}

/** Router of Koa. The package is required, since an import of it loads `node:http` at a cost of 6 MB: see src/system/process/memory.ts. */
export const { default: Router } = createRequire(import.meta.url)(
  '@koa/router',
) as typeof import('@koa/router');

/**
 * Converts each body that is no text, bytes or stream to JSON before Koa does. Koa first checks if the body is a `Response` of
 * `fetch`, which loads undici: 6 MB of memory in a server that fetches nothing.
 */
function answerInJson<State>({ response }: Koa<State>): void {
  const body = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(response), 'body');
  if (body?.get === undefined || body.set === undefined)
    throw new TypeError('Responses of Koa have no setter for `body`');
  const { get, set } = body;
  Object.defineProperty(response, 'body', {
    configurable: true,
    get,
    set(this: Koa.Response, value: unknown) {
      if (isSentAsItIs(value)) return set.call(this, value);
      if (!/\bjson\b/i.test(this.type)) this.type = 'json';
      set.call(this, JSON.stringify(value));
    },
  });
}

function isSentAsItIs(value: unknown): boolean {
  return (
    value === null ||
    value === undefined ||
    typeof value === 'string' ||
    Buffer.isBuffer(value) ||
    value instanceof Stream
  );
}

/**
 * Makes `ctx.path` and `ctx.query` safe to read for all later code. Koa parses `req.url` on each access and throws for some
 * targets, so a listener that reads `ctx.path` could end the process. A malformed target becomes `/`, and `assertTarget` then
 * refuses the request.
 */
const normalizeTarget: Middleware<ApiState> = (ctx, next) => {
  ctx.req.url = originForm(ctx.originalUrl) ?? '/';
  return next();
};

/** @throws AppError `bad_request` if the request line has no valid target */
const assertTarget: Middleware<ApiState> = (ctx, next) => {
  if (originForm(ctx.originalUrl) !== undefined) return next();
  throw new AppError('bad_request', 'The URL in the request line is malformed.', {
    hint: 'Send a path that starts with "/". Percent-encode spaces, "#" and characters that are not ASCII.',
  });
};

/**
 * Returns path and query of a request target (RFC 9112, section 3.2), or undefined if the target is malformed.
 * @param target path and query, or a whole URL as clients send it to a proxy
 */
export function originForm(target: string): string | undefined {
  if (/^https?:\/\//i.test(target)) {
    const url = URL.parse(target);
    return url === null ? undefined : `${url.pathname}${url.search}`;
  }
  // Without these characters Koa's parser only splits the text at the first "?".
  return /^\/[^\s#]*$/.test(target) ? target : undefined;
}

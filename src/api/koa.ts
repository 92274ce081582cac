import Koa, { type Context, type Middleware } from 'koa';
import { AppError } from '../errors/app-error.ts';
import type { Log } from '../system/log/log.ts';
import type { ApiState } from './context.ts';
import { answerErrors } from './errors.ts';
import { identify } from './request-log.ts';

/**
 * Creates the Koa app for both APIs: it identifies and logs requests, and answers every error. No request, and no disconnect
 * at any instant, raises an exception outside the error handler.
 * @param asText returns true if errors are answered as text instead of JSON; by default only for clients of git
 */
export function createKoa(log: Log, asText?: (ctx: Context) => boolean): Koa<ApiState> {
  const app = new Koa<ApiState>();
  app.use((ctx, next) => {
    // If a client disconnects while no code listens to these streams, Node ends the process. Readers and writers find the
    // error in the state of the stream.
    ctx.req.on('error', () => undefined);
    ctx.res.on('error', () => undefined);
    // Koa parses `req.url` on each access and throws for some targets, so a listener that reads `ctx.path` could end the process.
    ctx.req.url = originForm(ctx.originalUrl) ?? '/';
    return next();
  });
  app.use(identify(log));
  app.use(answerErrors(log, asText));
  app.use(assertTarget);
  // All other errors have been answered and logged.
  app.on('error', (error: Error, ctx?: Context) =>
    log.info('connection lost', { requestId: ctx?.state['requestId'], error: error.message }),
  );
  return app;
}

/** Refuses a request without a valid target. @throws AppError `bad_request` */
const assertTarget: Middleware<ApiState> = (ctx, next) => {
  if (originForm(ctx.originalUrl) !== undefined) return next();
  throw new AppError('bad_request', 'the URL in the request line is malformed', {
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

import { randomUUID } from 'node:crypto';
import type { Middleware } from 'koa';
import type { Log } from '../system/log.ts';
import type { ApiState } from './context.ts';

/**
 * Gives each request an id, the caller's own where it sent a sensible one, answers with it, and writes one line of
 * log when the request has been answered.
 */
export function identify(log: Log): Middleware<ApiState> {
  return async (ctx, next) => {
    const given = ctx.get('x-request-id');
    const id = /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
    ctx.state.requestId = id;
    ctx.set('X-Request-Id', id);
    const started = performance.now();
    ctx.res.once('close', () => {
      log('request', {
        id,
        method: ctx.method,
        path: ctx.path,
        // null where the caller went away before there was an answer
        status: ctx.headerSent ? ctx.status : null,
        ms: Math.round(performance.now() - started),
        by: ctx.state.principal?.name ?? null,
      });
    });
    await next();
  };
}

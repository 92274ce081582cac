import { randomUUID } from 'node:crypto';
import type { Context, Middleware } from 'koa';
import type { Log } from '../system/log/log.ts';
import type { LogLevel } from '../system/log/log-level.ts';
import { withRequestId } from '../system/log/request-id.ts';
import type { ApiState } from './context.ts';

/** So much of a path is logged: it is as long as the caller likes. */
const loggedPath = 300;

/**
 * Gives each request an id, the caller's own where it sent a sensible one, answers with it, and writes one line of
 * log when the request has been answered. All else that is logged for its sake has the id, too.
 */
export function identify(log: Log): Middleware<ApiState> {
  return (ctx, next) => {
    const given = ctx.get('x-request-id');
    const id = /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
    ctx.state.requestId = id;
    ctx.set('X-Request-Id', id);
    const started = performance.now();
    // Not of the query, nor of a body: there may be secrets in them.
    ctx.res.once('close', () => {
      log[urgency(ctx)]('request', {
        requestId: id,
        method: ctx.method,
        path: ctx.originalUrl.split(/[?#]/, 1)[0]?.slice(0, loggedPath),
        // null where the caller went away before there was an answer
        status: ctx.headerSent ? ctx.status : null,
        durationMs: Math.round(performance.now() - started),
        by: ctx.state.principal?.name ?? null,
      });
    });
    return withRequestId(id, next);
  };
}

/**
 * Who is turned away is worth a look. (Clients of git ask without a token first, each time.) What changes something is
 * told, the rest only to those who look for faults.
 */
function urgency(ctx: Context): LogLevel {
  if (ctx.status === 403 || (ctx.status === 401 && ctx.get('authorization') !== '')) return 'warn';
  return ['GET', 'HEAD', 'OPTIONS'].includes(ctx.method) ? 'debug' : 'info';
}

/** For what reaches Koa itself: a connection that broke off, since everything else has been answered and logged. */
export function logLost(log: Log): (error: Error, ctx?: Context) => void {
  return (error, ctx) =>
    log.info('connection lost', { requestId: ctx?.state['requestId'], error: error.message });
}

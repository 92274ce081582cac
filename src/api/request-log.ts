import { randomUUID } from 'node:crypto';
import type { Context, Middleware } from 'koa';
import type { Log, LogLevel } from '../system/log/log.ts';
import { withRequestId } from '../system/log/request-id.ts';
import type { ApiState } from './context.ts';

/** Limit of a logged path, in characters. */
const maxLoggedPath = 300;

/**
 * Gives each request an id: the caller's own id if it is valid, or a new one. The answer has the id, and so has each log line of the
 * request. Logs one line when the request has been answered.
 */
export function identify(log: Log): Middleware<ApiState> {
  return (ctx, next) => {
    const given = ctx.get('x-request-id');
    const id = /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
    ctx.state.requestId = id;
    ctx.set('X-Request-Id', id);
    const started = performance.now();
    // The query and the body may contain secrets.
    ctx.res.once('close', () => {
      log[levelOf(ctx)]('request', {
        requestId: id,
        method: ctx.method,
        path: ctx.originalUrl.split(/[?#]/, 1)[0]?.slice(0, maxLoggedPath),
        // null if the client disconnected before an answer
        status: ctx.headerSent ? ctx.status : null,
        durationMs: Math.round(performance.now() - started),
        by: ctx.state.principal?.name ?? null,
      });
    });
    return withRequestId(id, next);
  };
}

/** Returns `warn` for refused callers, `info` for changes, `debug` for the rest. Clients of git first ask without a token. */
function levelOf(ctx: Context): LogLevel {
  if (ctx.status === 403 || (ctx.status === 401 && ctx.get('authorization') !== '')) return 'warn';
  return ['GET', 'HEAD', 'OPTIONS'].includes(ctx.method) ? 'debug' : 'info';
}

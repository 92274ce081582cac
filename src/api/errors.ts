import type { Context, Middleware } from 'koa';
import { AppError, errorBody } from '../errors/app-error.ts';
import { errorStatus } from '../errors/codes.ts';
import type { Log } from '../system/log/log.ts';
import { printable } from '../system/text/printable.ts';
import { challenge, isGit } from './auth/principal.ts';
import { drain } from './body.ts';
import type { ApiState } from './context.ts';

/** Answers every error: as `{error: {code, message, hint}}`, or as text for git, which shows it to people. Logs internal errors. */
export function answerErrors(log: Log, asText: (ctx: Context) => boolean = isGit): Middleware<ApiState> {
  return async (ctx, next) => {
    try {
      await next();
      if (ctx.respond !== false && ctx.status >= 404 && ctx.body == null) throw noSuchCall(ctx);
    } catch (error) {
      await answerError(ctx, error, log, asText(ctx));
    }
  };
}

async function answerError(ctx: Context, error: unknown, log: Log, asText: boolean): Promise<void> {
  if (!(error instanceof AppError)) {
    log.error('internal error', { error });
  }
  if (ctx.res.headersSent) {
    // The client must see that the answer is incomplete.
    if (!ctx.res.writableEnded) ctx.res.destroy();
    return;
  }
  const body = errorBody(error);
  ctx.status = errorStatus[body.code];
  if (ctx.status === 401) ctx.set('WWW-Authenticate', challenge(ctx));
  const text = body.hint === '' ? body.message : `${body.message}\n${body.hint}`;
  if (asText) await answerWhole(ctx, 'text/plain; charset=utf-8', printable(`${text}\n`, false));
  else await answerJson(ctx, { error: body });
}

export function answerJson(ctx: Context, value: unknown): Promise<void> {
  return answerWhole(ctx, 'application/json', `${JSON.stringify(value)}\n`);
}

/**
 * Answers a request, even if its body has not been read to its end. A client that is still sending would have its connection reset
 * and might never see the answer if we closed at once, so it gets time to read the answer.
 */
export async function answerWhole(ctx: Context, type: string, text: string): Promise<void> {
  ctx.type = type;
  if (ctx.req.complete) {
    ctx.body = text;
    return;
  }
  ctx.respond = false;
  ctx.set('Connection', 'close');
  ctx.length = Buffer.byteLength(text);
  ctx.res.write(text);
  await drain(ctx.req);
  ctx.res.end();
}

function noSuchCall(ctx: Context): AppError {
  if (ctx.status === 405 || ctx.status === 501) {
    const allowed = ctx.response.get('Allow');
    return new AppError('method_not_allowed', `${ctx.path} does not support ${ctx.method}`, {
      hint: allowed === '' ? '' : `Supported methods: ${allowed}.`,
    });
  }
  return new AppError('not_found', `${ctx.path} not found`, { hint: 'See docs/api.md for all calls.' });
}

import Koa, { type Context } from 'koa';
import type { Log } from '../system/log/log.ts';
import type { ApiState } from './context.ts';
import { answerErrors } from './errors.ts';
import { answerInJson } from './json-answer.ts';
import { identify, logLost } from './request-id.ts';
import { assertTarget, normalizeTarget } from './request-target.ts';

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

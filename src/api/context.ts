import type { RouterContext, RouterMiddleware } from '@koa/router';
import type { DefaultContext } from 'koa';
import { defaultEnvironment, type EnvironmentId } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { Principal } from './auth/principal.ts';

/** What earlier middleware has found out about a request. */
export interface ApiState {
  requestId: string;
  /** who asks; set by `authenticate` */
  principal: Principal;
}

export type ApiContext = RouterContext<ApiState, DefaultContext, unknown>;

/**
 * Lets only those through whose query has no other parameters than these: a misspelt `environment=staging` that was
 * passed over would send a deploy to production.
 * @throws AppError `bad_request` that names them
 */
export function takes(...known: string[]): RouterMiddleware<ApiState> {
  return (ctx, next) => {
    const unknown = Object.keys(ctx.query).filter((name) => !known.includes(name));
    if (unknown.length === 0) return next();
    const call = `${ctx.method} ${ctx.path}`;
    throw new AppError('bad_request', `${call} does not know the parameter ${unknown.join(', ')}`, {
      hint: known.length === 0 ? 'It takes none.' : `It knows ${known.join(', ')}.`,
    });
  };
}

/** The app of the path and the environment of the query. Whether they are names is for the service to say. */
export function targetOf(ctx: ApiContext): EnvironmentId {
  return { app: ctx.params['app'] ?? '', environment: queryText(ctx, 'environment') ?? defaultEnvironment };
}

/** A query parameter, or undefined where it is not there. @throws AppError `bad_request` where it is there twice */
export function queryText(ctx: ApiContext, name: string): string | undefined {
  const value = ctx.query[name];
  if (Array.isArray(value)) throw new AppError('bad_request', `${name}= is given ${value.length} times`);
  return value;
}

/** A query parameter that says yes or no. @throws AppError `bad_request` */
export function queryFlag(ctx: ApiContext, name: string, otherwise: boolean): boolean {
  const value = queryText(ctx, name);
  if (value === undefined) return otherwise;
  if (['', '1', 'true'].includes(value)) return true;
  if (['0', 'false'].includes(value)) return false;
  throw new AppError('bad_request', `${name}=${value} is neither true nor false`);
}

/** A whole number in a path or a query. @throws AppError `bad_request` */
export function wholeNumber(text: string, name: string, maximum = Number.MAX_SAFE_INTEGER): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number <= maximum) return number;
  throw new AppError('bad_request', `${name} "${text}" is not a whole number up to ${maximum}`);
}

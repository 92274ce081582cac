import type { RouterContext } from '@koa/router';
import type { DefaultContext } from 'koa';
import { defaultEnvironment, type EnvironmentId, type Paths } from '../config/paths.ts';
import type { Edge } from '../edge/edge.ts';
import { AppError } from '../errors/app-error.ts';
import type { AppService } from '../service/app-service.ts';
import type { Log } from '../system/log/log.ts';
import type { KeyStore } from './auth/keys.ts';
import type { Principal } from './auth/principal.ts';
import type { TokenStore } from './auth/tokens.ts';
import type { RunnerInfo } from './routes/server.ts';

/** Parts of the server that the API calls. */
export interface ApiOptions {
  service: AppService;
  tokens: TokenStore;
  keys: KeyStore;
  edge: Edge;
  paths: Paths;
  version: string;
  /** returns the URL of the API on TCP */
  url: () => string;
  /** returns information about the runner; null if the runner does not answer */
  runner: () => Promise<RunnerInfo | null>;
  log: Log;
}

/** State of a request, set by earlier middleware. */
export interface ApiState {
  requestId: string;
  /** caller; set by `authenticate` */
  principal: Principal;
}

export type ApiContext = RouterContext<ApiState, DefaultContext, unknown>;

/** Returns the app of the path and the environment of the query. The app service checks these names. */
export function environmentIdOf(ctx: ApiContext): EnvironmentId {
  return { app: ctx.params['app'] ?? '', environment: queryText(ctx, 'environment') ?? defaultEnvironment };
}

/** Returns a query parameter, or undefined. @throws AppError `bad_request` if the query has it twice */
export function queryText(ctx: ApiContext, name: string): string | undefined {
  const value = ctx.query[name];
  if (Array.isArray(value)) {
    throw new AppError('bad_request', `the parameter ${name} is given ${value.length} times`);
  }
  return value;
}

/** Returns a boolean query parameter. @throws AppError `bad_request` */
export function queryFlag(ctx: ApiContext, name: string, defaultValue: boolean): boolean {
  const value = queryText(ctx, name);
  if (value === undefined) return defaultValue;
  if (['', '1', 'true'].includes(value)) return true;
  if (['0', 'false'].includes(value)) return false;
  throw new AppError('bad_request', `invalid ${name}: ${value} (expected true or false)`);
}

/** Parses a whole number of a path or a query. @throws AppError `bad_request` */
export function wholeNumber(text: string, name: string, { maximum = Number.MAX_SAFE_INTEGER } = {}): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number <= maximum) return number;
  throw new AppError('bad_request', `invalid ${name}: "${text}" (expected a whole number up to ${maximum})`);
}

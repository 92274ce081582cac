import type { Router } from '@koa/router';
import { AppError } from '../errors/app-error.ts';
import { assertMayAccess, assertMayAccessAll, assertScope } from './auth/principal.ts';
import type { Scope, TokenScope } from './auth/tokens.ts';
import type { ApiContext, ApiState } from './context.ts';

/** Adds a call to the API. */
export type AddRoute = (
  /** method and path, such as `GET /v1/apps/:app`; a caller must have access to the app of the path */
  call: `${'GET' | 'POST' | 'PATCH' | 'DELETE'} /${string}`,
  /** scope that a caller needs; with `:all`, for all apps */
  access: TokenScope | `${Scope}:all`,
  /** query parameters that the call knows */
  parameters: readonly string[],
  /** returns the body of the answer, or undefined if it has answered itself */
  handle: (ctx: ApiContext) => unknown,
) => void;

/** Returns a function that adds calls to a router. */
export function routeAdder(router: Router<ApiState>): AddRoute {
  return (call, access, parameters, handle) => {
    const [method = '', path = ''] = call.split(' ');
    const [scope, isForAll] = access.split(':') as [TokenScope, string?];
    router.register(path, [method], async (ctx) => {
      const { principal } = ctx.state;
      if (isForAll !== undefined) assertMayAccessAll(principal);
      assertScope(principal, scope);
      const { app } = ctx.params;
      if (app !== undefined) assertMayAccess(principal, app);
      assertParameters(ctx, parameters);
      const body = await handle(ctx);
      if (body !== undefined) ctx.body = body;
    });
  };
}

/**
 * Checks that a request has no other query parameters than these. A misspelt `environment=staging` would otherwise deploy to
 * production.
 * @throws AppError `bad_request`
 */
function assertParameters(ctx: ApiContext, known: readonly string[]): void {
  const unknown = Object.keys(ctx.query).filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  const call = `${ctx.method} ${ctx.path}`;
  throw new AppError('bad_request', `unknown parameter of ${call}: ${unknown.join(', ')}`, {
    hint: known.length === 0 ? 'The call has no parameters.' : `Parameters: ${known.join(', ')}.`,
  });
}

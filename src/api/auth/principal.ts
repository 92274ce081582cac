import type { RouterMiddleware } from '@koa/router';
import type { Context } from 'koa';
import { AppError } from '../../errors/app-error.ts';
import type { ApiState } from '../context.ts';
import { type Scope, scopes, type TokenStore } from './tokens.ts';

/** Who asks. */
export interface Principal {
  /** for the history: a token's name, `ssh:` and a key's name, or `local` */
  name: string;
  scope: Scope;
  /** the only app it may touch; null for all */
  app: string | null;
}

/** Whoever may open the server's unix socket (mode 0600) is its owner, and may do anything. */
const owner: Principal = { name: 'local', scope: 'admin', app: null };

/**
 * Finds out who asks: by bearer token, or, on the unix socket, its owner. Which of the two holds is told by the
 * listener that a request came in on, never by looking at its socket: one that has been closed meanwhile has no
 * address either.
 * @throws AppError `unauthorized`
 */
export function authenticate(tokens: TokenStore, local: boolean): RouterMiddleware<ApiState> {
  return async (ctx, next) => {
    const read = isGit(ctx) ? basicPassword : bearerToken;
    ctx.state.principal = local ? owner : await byToken(read(ctx.get('authorization')), tokens);
    await next();
  };
}

/** Whether a client of git asks: it knows of user names and passwords only, and shows people text. */
export function isGit(ctx: Pick<Context, 'path'>): boolean {
  return ctx.path.startsWith('/git/');
}

/** How a client that has not said who it is is to say so. */
export function challenge(ctx: Pick<Context, 'path'>): string {
  return isGit(ctx)
    ? 'Basic realm="Sluice: any user name, and a token as password"'
    : 'Bearer realm="sluice"';
}

function bearerToken(header: string): string | undefined {
  return /^bearer +(\S+)$/i.exec(header)?.[1];
}

/** The user name may be any: a token says itself whose it is. */
function basicPassword(header: string): string | undefined {
  const credentials = /^basic +([A-Za-z0-9+/=]+)$/i.exec(header)?.[1];
  if (credentials === undefined) return bearerToken(header);
  return /^[^:]*:(.+)$/.exec(Buffer.from(credentials, 'base64').toString('utf8'))?.[1];
}

async function byToken(secret: string | undefined, tokens: TokenStore): Promise<Principal> {
  if (secret === undefined) {
    throw new AppError('unauthorized', 'this call needs a token', {
      hint: 'Send `Authorization: Bearer slc_…`; to git give it as the password. On the server, `sluice token create NAME` makes one.',
    });
  }
  const token = await tokens.find(secret);
  if (token === undefined) {
    throw new AppError('unauthorized', 'there is no such token', {
      hint: 'It may have been revoked. On the server, `sluice token list` shows the ones there are.',
    });
  }
  const scope = scopes.findLast((each) => token.scopes.includes(each)) ?? 'read';
  return { name: token.name, scope, app: token.app };
}

/**
 * Lets only those through who have the scope and, where the path names an app, may touch it.
 * @throws AppError `forbidden`
 */
export function need(scope: Scope): RouterMiddleware<ApiState> {
  return (ctx, next) => {
    const { principal } = ctx.state;
    if (!includes(principal.scope, scope)) {
      throw new AppError(
        'forbidden',
        `this needs scope ${scope}; the token ${principal.name} has ${principal.scope}`,
        {
          hint: `On the server, \`sluice token create NAME --scope ${scope}\` makes one that may.`,
        },
      );
    }
    const app = ctx.params['app'];
    if (app !== undefined) assertMayTouch(principal, app);
    return next();
  };
}

/** For what concerns the whole server: a token for one app may not, whatever its scope. @throws AppError `forbidden` */
export function needWhole(scope: Scope): RouterMiddleware<ApiState> {
  const needScope = need(scope);
  return (ctx, next) => {
    if (ctx.state.principal.app !== null) throw otherApp(ctx.state.principal);
    return needScope(ctx, next);
  };
}

/** @throws AppError `forbidden` */
export function assertMayTouch(principal: Principal, app: string): void {
  if (!mayTouch(principal, app)) throw otherApp(principal);
}

export function mayTouch(principal: Principal, app: string): boolean {
  return principal.app === null || principal.app === app;
}

export function includes(had: Scope, needed: Scope): boolean {
  return scopes.indexOf(had) >= scopes.indexOf(needed);
}

function otherApp({ name, app }: Principal): AppError {
  return new AppError(
    'forbidden',
    `${name.startsWith('ssh:') ? 'the key' : 'the token'} ${name.replace(/^ssh:/, '')} is for the app ${app} only`,
  );
}

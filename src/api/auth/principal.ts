import type { RouterMiddleware } from '@koa/router';
import type { Context } from 'koa';
import { AppError } from '../../errors/app-error.ts';
import type { ApiState } from '../context.ts';
import { type Scope, scopes, type TokenScope, type TokenStore } from './tokens.ts';

/** Caller of the API. */
export interface Principal {
  /** name for the history: a token's name, `ssh:` and a key's name, or `local` */
  name: string;
  scope: Scope;
  /** true if the caller may run one-off commands */
  mayRun: boolean;
  /** only app that the caller may access; null for all apps */
  app: string | null;
}

/** Owner of the server, who alone may open its unix socket (mode 0600). */
const owner: Principal = { name: 'local', scope: 'admin', mayRun: true, app: null };

/**
 * Finds the caller by a bearer token. On the unix socket the caller is the owner.
 * @param local true for the listener of the unix socket; the socket itself may be closed and have no address any more
 * @throws AppError `unauthorized`
 */
export function authenticate(tokens: TokenStore, local: boolean): RouterMiddleware<ApiState> {
  return async (ctx, next) => {
    const read = isGit(ctx) ? basicPassword : bearerToken;
    ctx.state.principal = local ? owner : await byToken(read(ctx.get('authorization')), tokens);
    await next();
  };
}

/** Returns true for a client of git, which has user names and passwords instead of tokens, and shows text to people. */
export function isGit(ctx: Pick<Context, 'path'>): boolean {
  return ctx.path.startsWith('/git/');
}

/** Returns the header that asks a client for its token. */
export function challenge(ctx: Pick<Context, 'path'>): string {
  return isGit(ctx)
    ? 'Basic realm="Sluice: any user name, and a token as password"'
    : 'Bearer realm="sluice"';
}

function bearerToken(header: string): string | undefined {
  return /^bearer +(\S+)$/i.exec(header)?.[1];
}

/** Returns the password, or the bearer token. The user name does not matter. */
function basicPassword(header: string): string | undefined {
  const credentials = /^basic +([A-Za-z0-9+/=]+)$/i.exec(header)?.[1];
  if (credentials === undefined) return bearerToken(header);
  return /^[^:]*:(.+)$/.exec(Buffer.from(credentials, 'base64').toString('utf8'))?.[1];
}

async function byToken(secret: string | undefined, tokens: TokenStore): Promise<Principal> {
  if (secret === undefined) {
    throw new AppError('unauthorized', 'this call needs a token', {
      hint: 'Send `Authorization: Bearer slc_…`, or give git the token as the password. Create a token on the server: `sluice token create NAME`',
    });
  }
  const token = await tokens.find(secret);
  if (token === undefined) {
    throw new AppError('unauthorized', 'the token is unknown or was revoked', {
      hint: 'List tokens on the server: `sluice token list`',
    });
  }
  const scope = scopes.findLast((each) => token.scopes.includes(each)) ?? 'read';
  // A token that may do all could create a token with the scope `run`.
  const mayRun = token.scopes.includes('run') || (scope === 'admin' && token.app === null);
  return { name: token.name, scope, mayRun, app: token.app };
}

/** @throws AppError `forbidden` */
export function assertScope({ name, scope: granted, mayRun }: Principal, scope: TokenScope): void {
  if (scope === 'run' ? mayRun : includes(granted, scope)) return;
  throw new AppError('forbidden', `this call needs scope ${scope}; the token ${name} has ${granted}`, {
    hint: `Create a token with that scope on the server: \`sluice token create NAME --scope ${scope}\``,
  });
}

/** @throws AppError `forbidden` */
export function assertMayAccessAll(principal: Principal): void {
  if (principal.app !== null) throw otherApp(principal);
}

/** @throws AppError `forbidden` */
export function assertMayAccess(principal: Principal, app: string): void {
  if (!mayAccess(principal, app)) throw otherApp(principal);
}

export function mayAccess(principal: Principal, app: string): boolean {
  return principal.app === null || principal.app === app;
}

export function includes(scope: Scope, needed: Scope): boolean {
  return scopes.indexOf(scope) >= scopes.indexOf(needed);
}

function otherApp({ name, app }: Principal): AppError {
  const caller = name.startsWith('ssh:') ? `the key ${name.slice('ssh:'.length)}` : `the token ${name}`;
  return new AppError('forbidden', `${caller} is for the app ${app} only`);
}

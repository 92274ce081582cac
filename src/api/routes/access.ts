import * as v from 'valibot';
import type { Key } from '../auth/keys.ts';
import { tokenScopes } from '../auth/tokens.ts';
import { jsonBody, onlyApp } from '../body.ts';
import type { ApiOptions } from '../context.ts';
import type { AddRoute } from '../route.ts';

/** Key that was added, with the file that sshd must read and the user that clients log in as. */
export interface AddedKey extends Key {
  file: string;
  user: string;
}

const keyBody = v.strictObject({
  name: v.string('a name for the key'),
  key: v.string('the content of a .pub file'),
  app: onlyApp,
});

const tokenBody = v.strictObject({
  name: v.string('a name for the token'),
  scopes: v.optional(v.pipe(v.array(v.picklist(tokenScopes)), v.minLength(1)), ['deploy']),
  app: onlyApp,
});

/** Serves tokens, and the public keys that may push over ssh. Only the answer to the creation of a token has its secret. */
export function accessRoutes(add: AddRoute, { tokens, keys }: ApiOptions): void {
  add('GET /v1/keys', 'admin:all', [], () => keys.list());

  add('POST /v1/keys', 'admin:all', [], async (ctx) => {
    const { name, key, app } = await jsonBody(ctx, keyBody);
    ctx.status = 201;
    const { path: file, user } = keys.authorized;
    return { ...(await keys.add(name, key, app)), file, user } satisfies AddedKey;
  });

  add('DELETE /v1/keys/:name', 'admin:all', [], async (ctx) => {
    await keys.remove(ctx.params['name'] ?? '');
    ctx.status = 204;
  });

  add('GET /v1/tokens', 'admin:all', [], () => tokens.list());

  add('POST /v1/tokens', 'admin:all', [], async (ctx) => {
    const { name, scopes, app } = await jsonBody(ctx, tokenBody);
    const { secret, token } = await tokens.create(name, scopes, app);
    ctx.status = 201;
    return { ...token, token: secret };
  });

  add('DELETE /v1/tokens/:name', 'admin:all', [], async (ctx) => {
    await tokens.revoke(ctx.params['name'] ?? '');
    ctx.status = 204;
  });
}

import type { Router } from '@koa/router';
import * as v from 'valibot';
import type { Key } from '../auth/keys.ts';
import { requireAllApps } from '../auth/principal.ts';
import { scopes } from '../auth/tokens.ts';
import { jsonBody, onlyApp } from '../body.ts';
import { type ApiOptions, type ApiState, allowParameters } from '../context.ts';

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
  scopes: v.optional(v.pipe(v.array(v.picklist(scopes)), v.minLength(1)), ['deploy']),
  app: onlyApp,
});

/** Serves tokens, and the public keys that may push over ssh. Only the answer to the creation of a token has its secret. */
export function accessRoutes(router: Router<ApiState>, { tokens, keys }: ApiOptions): void {
  router.get('/v1/keys', requireAllApps('admin'), allowParameters(), async (ctx) => {
    ctx.body = await keys.list();
  });

  router.post('/v1/keys', requireAllApps('admin'), allowParameters(), async (ctx) => {
    const { name, key, app } = await jsonBody(ctx, keyBody);
    ctx.status = 201;
    ctx.body = {
      ...(await keys.add(name, key, app)),
      file: keys.file,
      user: keys.user,
    } satisfies AddedKey;
  });

  router.delete('/v1/keys/:name', requireAllApps('admin'), allowParameters(), async (ctx) => {
    await keys.remove(ctx.params['name'] ?? '');
    ctx.status = 204;
  });

  router.get('/v1/tokens', requireAllApps('admin'), allowParameters(), async (ctx) => {
    ctx.body = await tokens.list();
  });

  router.post('/v1/tokens', requireAllApps('admin'), allowParameters(), async (ctx) => {
    const { name, scopes, app } = await jsonBody(ctx, tokenBody);
    const { secret, token } = await tokens.create(name, scopes, app);
    ctx.status = 201;
    ctx.body = { ...token, token: secret };
  });

  router.delete('/v1/tokens/:name', requireAllApps('admin'), allowParameters(), async (ctx) => {
    await tokens.revoke(ctx.params['name'] ?? '');
    ctx.status = 204;
  });
}

import type { Router } from '@koa/router';
import * as v from 'valibot';
import { needWhole } from '../auth.ts';
import { type ApiState, takes } from '../context.ts';
import { jsonBody, onlyApp } from '../json-body.ts';
import { scopes, type TokenStore } from '../tokens.ts';

const createBody = v.strictObject({
  name: v.string('a name for the token'),
  scopes: v.optional(v.pipe(v.array(v.picklist(scopes)), v.minLength(1)), ['deploy']),
  app: onlyApp,
});

/** Tokens. The secret of one is in the answer to its creation and nowhere else. */
export function tokenRoutes(router: Router<ApiState>, tokens: TokenStore): void {
  router.get('/v1/tokens', needWhole('admin'), takes(), async (ctx) => {
    ctx.body = await tokens.list();
  });

  router.post('/v1/tokens', needWhole('admin'), takes(), async (ctx) => {
    const { name, scopes, app } = await jsonBody(ctx, createBody);
    const { secret, token } = await tokens.create(name, scopes, app);
    ctx.status = 201;
    ctx.body = { ...token, token: secret };
  });

  router.delete('/v1/tokens/:name', needWhole('admin'), takes(), async (ctx) => {
    await tokens.revoke(ctx.params['name'] ?? '');
    ctx.status = 204;
  });
}

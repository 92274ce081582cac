import type { Router } from '@koa/router';
import * as v from 'valibot';
import { needWhole } from '../auth.ts';
import { type ApiState, takes } from '../context.ts';
import { jsonBody, onlyApp } from '../json-body.ts';
import type { Key, KeyStore } from '../keys.ts';

/** A key that was added, and what its owner must know: the file that sshd must read, and the user to push as. */
export interface AddedKey extends Key {
  file: string;
  user: string;
}

const addBody = v.strictObject({
  name: v.string('a name for the key'),
  key: v.string('the content of a .pub file'),
  app: onlyApp,
});

/** Public keys that may push over ssh. */
export function keyRoutes(router: Router<ApiState>, keys: KeyStore): void {
  router.get('/v1/keys', needWhole('admin'), takes(), async (ctx) => {
    ctx.body = await keys.list();
  });

  router.post('/v1/keys', needWhole('admin'), takes(), async (ctx) => {
    const { name, key, app } = await jsonBody(ctx, addBody);
    ctx.status = 201;
    ctx.body = {
      ...(await keys.add(name, key, app)),
      file: keys.file,
      user: keys.user,
    } satisfies AddedKey;
  });

  router.delete('/v1/keys/:name', needWhole('admin'), takes(), async (ctx) => {
    await keys.remove(ctx.params['name'] ?? '');
    ctx.status = 204;
  });
}

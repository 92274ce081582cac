import type { Router } from '@koa/router';
import type { AppServiceApi } from '../../apps/service.ts';
import { AppError } from '../../errors/app-error.ts';
import { mayTouch, need } from '../auth.ts';
import { type ApiState, queryText, takes, targetOf } from '../context.ts';
import type { KeyStore } from '../keys.ts';
import type { TokenStore } from '../tokens.ts';

/** An app that was removed, and the names of what was good for it alone: another app of that name is none of theirs. */
export interface DestroyedApp {
  app: string;
  tokens: string[];
  keys: string[];
}

export interface AppSources {
  service: AppServiceApi;
  tokens: Pick<TokenStore, 'removeOf'>;
  keys: Pick<KeyStore, 'removeOf'>;
}

/** Apps: which there are, how they are, and their end. */
export function appRoutes(router: Router<ApiState>, { service, tokens, keys }: AppSources): void {
  router.get('/v1/apps', need('read'), takes(), async (ctx) => {
    const all = await service.list();
    ctx.body = all.filter(({ name }) => mayTouch(ctx.state.principal, name));
  });

  router.get('/v1/apps/:app', need('read'), takes('environment'), async (ctx) => {
    ctx.body = await service.status(targetOf(ctx));
  });

  router.delete('/v1/apps/:app', need('admin'), takes('confirm'), async (ctx) => {
    const { app } = targetOf(ctx);
    if (queryText(ctx, 'confirm') !== app) {
      throw new AppError('confirmation_required', `this removes ${app} in all its environments, for good`, {
        hint: `Say so with ?confirm=${app}`,
      });
    }
    const destroyed: DestroyedApp = { app, tokens: [], keys: [] };
    await service.destroy(app, ctx.state.principal.name, async () => {
      destroyed.tokens = await tokens.removeOf(app);
      destroyed.keys = await keys.removeOf(app);
    });
    ctx.body = destroyed;
  });
}

import type { Router } from '@koa/router';
import * as v from 'valibot';
import { AppError } from '../../errors/app-error.ts';
import type { AppService } from '../../service/app-service.ts';
import type { KeyStore } from '../auth/keys.ts';
import { includes, mayAccess, need } from '../auth/principal.ts';
import type { TokenStore } from '../auth/tokens.ts';
import { jsonBody } from '../body.ts';
import { type ApiState, queryFlag, queryText, takes, targetOf } from '../context.ts';

/** An app that was removed, and the names of what was good for it alone: another app of that name is none of theirs. */
export interface DestroyedApp {
  app: string;
  tokens: string[];
  keys: string[];
}

export interface AppSources {
  service: AppService;
  tokens: Pick<TokenStore, 'removeOf'>;
  keys: Pick<KeyStore, 'removeOf'>;
}

/** Apps: which there are, how they are, and their end. */
export function appRoutes(router: Router<ApiState>, { service, tokens, keys }: AppSources): void {
  router.get('/v1/apps', need('read'), takes(), async (ctx) => {
    const all = await service.list();
    ctx.body = all.filter(({ name }) => mayAccess(ctx.state.principal, name));
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

const changesBody = v.record(v.string(), v.nullable(v.string('text, or null to remove it')));

/** Stands for a value that the caller may not see. */
const hidden = '••••••';

/**
 * The variables of an app. Whoever may deploy sees their values, since deployed code sees them too; a token that
 * may only read sees their names.
 */
export function envRoutes(router: Router<ApiState>, service: AppService): void {
  router.get('/v1/apps/:app/env', need('read'), takes('environment'), async (ctx) => {
    const variables = await service.environment(targetOf(ctx));
    ctx.body = includes(ctx.state.principal.scope, 'deploy')
      ? variables
      : Object.fromEntries(Object.keys(variables).map((name) => [name, hidden]));
  });

  router.patch('/v1/apps/:app/env', need('deploy'), takes('environment', 'restart'), async (ctx) => {
    const changes = await jsonBody(ctx, changesBody);
    ctx.body = await service.changeEnvironment(targetOf(ctx), changes, {
      restart: queryFlag(ctx, 'restart', true),
      by: ctx.state.principal.name,
    });
  });
}

const scaleBody = v.strictObject({
  workers: v.nullable(
    v.pipe(
      v.number('a number of workers, or null for what the release says'),
      v.integer('a whole number of workers'),
      v.minValue(1, 'at least 1: to have none, stop the app'),
      v.maxValue(64, 'at most 64'),
    ),
  ),
});

/** The worker processes of an app. */
export function processRoutes(router: Router<ApiState>, service: AppService): void {
  router.post('/v1/apps/:app/scale', need('deploy'), takes('environment'), async (ctx) => {
    const { workers } = await jsonBody(ctx, scaleBody);
    ctx.body = await service.scale(targetOf(ctx), workers, ctx.state.principal.name);
  });

  for (const verb of ['restart', 'stop', 'start'] as const) {
    router.post(`/v1/apps/:app/${verb}`, need('deploy'), takes('environment'), async (ctx) => {
      ctx.body = await service[verb](targetOf(ctx), ctx.state.principal.name);
    });
  }
}

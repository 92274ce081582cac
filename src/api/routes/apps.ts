import type { Router } from '@koa/router';
import * as v from 'valibot';
import { AppError } from '../../errors/app-error.ts';
import { includes, mayAccess, requireScope } from '../auth/principal.ts';
import { jsonBody } from '../body.ts';
import {
  type ApiOptions,
  type ApiState,
  allowParameters,
  environmentIdOf,
  queryFlag,
  queryText,
} from '../context.ts';

/** App that was removed, with the names of the tokens and keys that were for this app alone, and were removed with it. */
export interface DestroyedApp {
  app: string;
  tokens: string[];
  keys: string[];
}

const changesBody = v.record(v.string(), v.nullable(v.string('text, or null to remove it')));

/** Shown instead of a value that the caller may not see. */
const hidden = '••••••';

const scaleBody = v.strictObject({
  workers: v.nullable(
    v.pipe(
      v.number('a number of workers, or null for the number of the release'),
      v.integer('a whole number of workers'),
      v.minValue(1, 'at least 1 (to run none, stop the app)'),
      v.maxValue(64, 'at most 64'),
    ),
  ),
});

/** Serves apps: list, status, removal, variables, worker processes. */
export function appRoutes(router: Router<ApiState>, { service, tokens, keys }: ApiOptions): void {
  router.get('/v1/apps', requireScope('read'), allowParameters(), async (ctx) => {
    const all = await service.list();
    ctx.body = all.filter(({ name }) => mayAccess(ctx.state.principal, name));
  });

  router.get('/v1/apps/:app', requireScope('read'), allowParameters('environment'), async (ctx) => {
    ctx.body = await service.status(environmentIdOf(ctx));
  });

  router.delete('/v1/apps/:app', requireScope('admin'), allowParameters('confirm'), async (ctx) => {
    const { app } = environmentIdOf(ctx);
    if (queryText(ctx, 'confirm') !== app) {
      throw new AppError('confirmation_required', `this call removes all environments of ${app} for good`, {
        hint: `Confirm with ?confirm=${app}`,
      });
    }
    const destroyed: DestroyedApp = { app, tokens: [], keys: [] };
    await service.destroy(app, ctx.state.principal.name, async () => {
      destroyed.tokens = await tokens.removeOf(app);
      destroyed.keys = await keys.removeOf(app);
    });
    ctx.body = destroyed;
  });

  // Callers that may deploy see values, since deployed code does. Others see names.
  router.get('/v1/apps/:app/env', requireScope('read'), allowParameters('environment'), async (ctx) => {
    const variables = await service.variables(environmentIdOf(ctx));
    ctx.body = includes(ctx.state.principal.scope, 'deploy')
      ? variables
      : Object.fromEntries(Object.keys(variables).map((name) => [name, hidden]));
  });

  router.patch(
    '/v1/apps/:app/env',
    requireScope('deploy'),
    allowParameters('environment', 'restart'),
    async (ctx) => {
      const changes = await jsonBody(ctx, changesBody);
      ctx.body = await service.changeVariables(environmentIdOf(ctx), changes, {
        restart: queryFlag(ctx, 'restart', true),
        by: ctx.state.principal.name,
      });
    },
  );

  router.post('/v1/apps/:app/scale', requireScope('deploy'), allowParameters('environment'), async (ctx) => {
    const { workers } = await jsonBody(ctx, scaleBody);
    ctx.body = await service.scale(environmentIdOf(ctx), workers, ctx.state.principal.name);
  });

  for (const verb of ['restart', 'stop', 'start'] as const) {
    router.post(
      `/v1/apps/:app/${verb}`,
      requireScope('deploy'),
      allowParameters('environment'),
      async (ctx) => {
        ctx.body = await service[verb](environmentIdOf(ctx), ctx.state.principal.name);
      },
    );
  }
}

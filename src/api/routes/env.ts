import type { Router } from '@koa/router';
import * as v from 'valibot';
import type { AppServiceApi } from '../../apps/service.ts';
import { includes, need } from '../auth.ts';
import { type ApiState, queryFlag, takes, targetOf } from '../context.ts';
import { jsonBody } from '../json-body.ts';

const changesBody = v.record(v.string(), v.nullable(v.string('text, or null to remove it')));

/** Stands for a value that the caller may not see. */
const hidden = '••••••';

/**
 * The variables of an app. Whoever may deploy sees their values, since deployed code sees them too; a token that
 * may only read sees their names.
 */
export function envRoutes(router: Router<ApiState>, service: AppServiceApi): void {
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

import type { Router } from '@koa/router';
import * as v from 'valibot';
import type { AppServiceApi } from '../../apps/service.ts';
import { need } from '../auth.ts';
import { type ApiState, takes, targetOf } from '../context.ts';
import { jsonBody } from '../json-body.ts';

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
export function processRoutes(router: Router<ApiState>, service: AppServiceApi): void {
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

import { createReadStream } from 'node:fs';
import type { Router } from '@koa/router';
import * as v from 'valibot';
import type { Service } from '../../deployments/service.ts';
import { need } from '../auth.ts';
import { type ApiContext, type ApiState, takes, targetOf, wholeNumber } from '../context.ts';
import { answerDeploy } from '../deploy-answer.ts';
import { jsonBody } from '../json-body.ts';
import { announcedLength, uploadBody } from '../upload.ts';

const wanted = 'the number of a release, or null for the one that was live before';

const rollbackBody = v.strictObject({
  release: v.optional(v.nullable(v.pipe(v.number(wanted), v.integer(wanted), v.minValue(1, wanted))), null),
});

/** Releases: uploading one, looking at them, going back. */
export function releaseRoutes(router: Router<ApiState>, service: Service): void {
  router.post('/v1/apps/:app/releases', need('deploy'), takes('environment'), (ctx) =>
    answerDeploy(ctx, 201, async (onEvent) => {
      const body = uploadBody(ctx.req);
      const contentLength = announcedLength(ctx.req);
      const by = ctx.state.principal.name;
      try {
        return await service.deploy(targetOf(ctx), { kind: 'upload', body, contentLength, by }, onEvent);
      } finally {
        body.destroy();
      }
    }),
  );

  router.post('/v1/apps/:app/rollback', need('deploy'), takes('environment'), async (ctx) => {
    const { release } = await jsonBody(ctx, rollbackBody);
    await answerDeploy(ctx, 200, (onEvent) =>
      service.rollback(targetOf(ctx), release, ctx.state.principal.name, onEvent),
    );
  });

  router.get('/v1/apps/:app/releases', need('read'), takes('environment'), async (ctx) => {
    ctx.body = await service.releases(targetOf(ctx));
  });

  router.get('/v1/apps/:app/releases/:number', need('read'), takes('environment'), async (ctx) => {
    ctx.body = await service.release(targetOf(ctx), numberOf(ctx));
  });

  router.get('/v1/apps/:app/releases/:number/log', need('read'), takes('environment'), async (ctx) => {
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = createReadStream(await service.buildLog(targetOf(ctx), numberOf(ctx)));
  });

  router.post('/v1/apps/:app/releases/:number/cancel', need('deploy'), takes('environment'), async (ctx) => {
    ctx.body = await service.cancel(targetOf(ctx), numberOf(ctx), ctx.state.principal.name);
  });
}

function numberOf(ctx: ApiContext): number {
  return wholeNumber(ctx.params['number'] ?? '', 'release');
}

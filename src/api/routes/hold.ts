import { once } from 'node:events';
import type { Router } from '@koa/router';
import type { AppServiceApi } from '../../apps/service.ts';
import { needWhole } from '../auth.ts';
import { type ApiState, takes } from '../context.ts';
import { refuseBody } from '../upload.ts';

/**
 * For whoever copies what is on the disk: nothing is moved or removed there for as long as the answer is listened to. So
 * whatever becomes of the caller, or of us, nothing stays held, and the caller knows when it is no more.
 */
export function holdRoutes(router: Router<ApiState>, service: AppServiceApi): void {
  router.post('/v1/hold', needWhole('admin'), takes(), async (ctx) => {
    const { req, res } = ctx;
    refuseBody(req);
    using _ = await service.hold(ctx.state.principal.name);
    // Gone while it waited.
    if (res.destroyed) return;
    ctx.respond = false;
    res.writeHead(200, { ...res.getHeaders(), 'content-type': 'text/plain; charset=utf-8' });
    res.write('held\n');
    await once(res, 'close');
  });
}

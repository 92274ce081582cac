import { Readable } from 'node:stream';
import type { Router } from '@koa/router';
import type { Service } from '../../deployments/service.ts';
import { need } from '../auth.ts';
import { type ApiState, queryFlag, queryText, takes, targetOf, wholeNumber } from '../context.ts';

const defaultLines = 100;
const maxLines = 100_000;

/** What an app writes. With `follow=1` the answer goes on until the caller hangs up. */
export function logRoutes(router: Router<ApiState>, service: Service): void {
  router.get('/v1/apps/:app/logs', need('read'), takes('environment', 'lines', 'follow'), async (ctx) => {
    const target = targetOf(ctx);
    const lines = wholeNumber(queryText(ctx, 'lines') ?? String(defaultLines), 'lines', maxLines);
    const follow = queryFlag(ctx, 'follow', false);
    // Asked first, while the answer can still have a status: the lines of a quiet app may be long in coming.
    await service.status(target);
    const gone = new AbortController();
    ctx.res.once('close', () => gone.abort());
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = Readable.from(withLineEnds(service.logs(target, { lines, follow, signal: gone.signal })));
    ctx.flushHeaders();
  });
}

async function* withLineEnds(lines: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const line of lines) yield `${line}\n`;
}

import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { errorStatus } from '../errors/codes.ts';
import type { Release } from '../releases/release.ts';
import type { ApiContext } from './context.ts';
import { type EventRenderer, renderJsonLine, renderText } from './deploy-text.ts';
import { answerJson, answerWhole } from './errors.ts';
import { EventStream } from './event-stream.ts';

type Deploy = (onEvent: (event: DeployEvent) => void) => Promise<Release>;

/** How the outcome of a deploy or a rollback is told, by what the caller accepts. */
const streams: Record<string, { type: string; render: EventRenderer }> = {
  'text/plain': { type: 'text/plain; charset=utf-8', render: renderText },
  'application/x-ndjson': { type: 'application/x-ndjson', render: renderJsonLine },
};

/**
 * Runs a deploy and answers with its outcome: once, as JSON, when it is known, with a status that says it; or, where
 * the caller asks for text/plain or application/x-ndjson, as a live stream, whose status is 200 as soon as there is
 * anything to tell. What is refused before that has the status of its error in these forms too.
 */
export async function answerDeploy(ctx: ApiContext, succeeded: 200 | 201, deploy: Deploy): Promise<void> {
  const accepted = ctx.accepts('application/json', ...Object.keys(streams));
  const stream = typeof accepted === 'string' ? streams[accepted] : undefined;
  if (stream === undefined) return answerOnce(ctx, succeeded, deploy);
  return answerLive(ctx, stream.type, stream.render, deploy);
}

/** A failure says at which step, and beside it stands the release that it left. */
async function answerOnce(ctx: ApiContext, succeeded: number, deploy: Deploy): Promise<void> {
  let failed: Extract<DeployEvent, { event: 'failed' }> | undefined;
  try {
    const release = await deploy((event) => {
      if (event.event === 'failed') failed = event;
    });
    ctx.status = succeeded;
    ctx.body = release;
  } catch (error) {
    if (failed === undefined) throw error;
    ctx.status = errorStatus[failed.error.code];
    await answerJson(ctx, { error: failed.error, release: failed.release });
  }
}

async function answerLive(
  ctx: ApiContext,
  type: string,
  render: EventRenderer,
  deploy: Deploy,
): Promise<void> {
  let stream: EventStream | undefined;
  let ended = false;
  const begin = () => {
    ctx.respond = false;
    ctx.res.writeHead(200, { ...ctx.res.getHeaders(), 'content-type': type });
    return new EventStream(ctx.req, ctx.res);
  };
  try {
    await deploy((event) => {
      // A refusal before anything was begun keeps its status: it is told below.
      if (event.event === 'failed' && stream === undefined) return;
      stream ??= begin();
      ended ||= event.event === 'live' || event.event === 'failed';
      if (event.event === 'log') stream.offer(render(event));
      else stream.write(render(event));
    });
  } catch (error) {
    const event = { event: 'failed', release: null, error: { ...errorBody(error), step: null } } as const;
    if (stream === undefined) {
      if (!(error instanceof AppError)) throw error;
      ctx.status = error.status;
      return answerWhole(ctx, type, render(event));
    }
    if (!ended) stream.write(render(event));
    await stream.end();
    // Answered; what is a fault of ours must still get into the log.
    if (!(error instanceof AppError)) throw error;
    return;
  }
  await stream?.end();
}

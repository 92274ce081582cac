import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { errorStatus } from '../errors/codes.ts';
import type { Release } from '../releases/release.ts';
import { drain } from './body.ts';
import type { ApiContext } from './context.ts';
import { type EventRenderer, renderJsonLine, renderTerminal, renderText } from './deploy-text.ts';
import { answerJson, answerWhole } from './errors.ts';

type Deploy = (onEvent: (event: DeployEvent) => void) => Promise<Release>;

/** Formats of a live answer, by media type. */
const formats: Record<string, { type: string; render: EventRenderer }> = {
  'text/plain': { type: 'text/plain; charset=utf-8', render: renderText },
  'text/x-terminal': { type: 'text/x-terminal; charset=utf-8', render: renderTerminal },
  'application/x-ndjson': { type: 'application/x-ndjson', render: renderJsonLine },
};

/**
 * Runs a deploy and answers with its outcome. By default the answer is JSON, with a status for the outcome. A caller that accepts
 * text/plain or application/x-ndjson gets a live stream with status 200, or the status of an error before the first event.
 */
export async function answerDeploy(ctx: ApiContext, succeeded: 200 | 201, deploy: Deploy): Promise<void> {
  const accepted = ctx.accepts('application/json', ...Object.keys(formats));
  const format = typeof accepted === 'string' ? formats[accepted] : undefined;
  if (format === undefined) return answerOnce(ctx, succeeded, deploy);
  return answerLive(ctx, format.type, format.render, deploy);
}

/** Answers with the release, or with the error, its step and the failed release. */
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

/** Limit of unsent text, in bytes. Above it, log lines are dropped, so that a client that does not read costs no memory. */
const maxUnread = 1024 ** 2;

/** Answers with each event. A client that disconnects does not affect the deploy. */
async function answerLive(
  ctx: ApiContext,
  type: string,
  render: EventRenderer,
  deploy: Deploy,
): Promise<void> {
  const { req, res } = ctx;
  let hasEnded = false;
  const write = (event: DeployEvent) => {
    if (!res.headersSent) begin(ctx, type);
    hasEnded ||= event.event === 'live' || event.event === 'failed';
    // The build log has all lines.
    const isLeftOut = event.event === 'log' && res.writableLength >= maxUnread;
    // As bytes: some versions of Node.js lose the `drain` event of a response that is written as strings
    // (test/platform/http.test.ts), and count UTF-16 characters as unsent bytes.
    if (!isLeftOut && !res.destroyed) res.write(Buffer.from(render(event)));
  };
  const end = async () => {
    if (!req.complete) await drain(req);
    res.end();
  };
  try {
    await deploy((event) => {
      // An error before the first event gets a status of its own, below.
      if (event.event !== 'failed' || res.headersSent) write(event);
    });
    await end();
  } catch (error) {
    const event = { event: 'failed', release: null, error: { ...errorBody(error), step: null } } as const;
    if (!res.headersSent) {
      if (!(error instanceof AppError)) throw error;
      ctx.status = error.status;
      return answerWhole(ctx, type, render(event));
    }
    if (!hasEnded) write(event);
    await end();
    // The caller has its answer. The log must still get an error of our own.
    if (!(error instanceof AppError)) throw error;
  }
}

/**
 * Begins a live answer. Through a proxy (`X-Forwarded-For`), the answer waits until the whole request has arrived: nginx stops
 * forwarding a request when its answer begins, and the upload would never end. Only the first step of a deploy has to wait.
 */
function begin(ctx: ApiContext, type: string): void {
  const { req, res } = ctx;
  ctx.respond = false;
  res.writeHead(200, { ...res.getHeaders(), 'content-type': type });
  if (req.headers['x-forwarded-for'] === undefined || req.complete) return;
  res.cork();
  const send = () => {
    req.off('end', send).off('close', send);
    if (!res.writableEnded) res.uncork();
  };
  req.on('end', send).on('close', send);
}

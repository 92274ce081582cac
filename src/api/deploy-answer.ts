import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { errorStatus } from '../errors/codes.ts';
import type { Release } from '../releases/release.ts';
import { drain } from './body.ts';
import type { ApiContext } from './context.ts';
import { type EventRenderer, renderJsonLine, renderText } from './deploy-text.ts';
import { answerJson, answerWhole } from './errors.ts';

type Deploy = (onEvent: (event: DeployEvent) => void) => Promise<Release>;

/** Formats of a live answer, by media type. */
const formats: Record<string, { type: string; render: EventRenderer }> = {
  'text/plain': { type: 'text/plain; charset=utf-8', render: renderText },
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
      // An error before the first event gets a status of its own, below.
      if (event.event === 'failed' && stream === undefined) return;
      stream ??= begin();
      ended ||= event.event === 'live' || event.event === 'failed';
      if (event.event === 'log') stream.offer(render(event));
      else stream.write(render(event));
    });
    await stream?.end();
  } catch (error) {
    const event = { event: 'failed', release: null, error: { ...errorBody(error), step: null } } as const;
    if (stream === undefined) {
      if (!(error instanceof AppError)) throw error;
      ctx.status = error.status;
      return answerWhole(ctx, type, render(event));
    }
    if (!ended) stream.write(render(event));
    await stream.end();
    // The caller has its answer. The log must still get an error of our own.
    if (!(error instanceof AppError)) throw error;
  }
}

/** Limit of unsent text, in bytes. Above it, log lines are dropped, so that a client that does not read costs no memory. */
const maxUnread = 1024 ** 2;

/**
 * Live answer. A client that disconnects does not affect the deploy.
 *
 * Through a proxy (`X-Forwarded-For`), the answer waits until the whole request has arrived: nginx stops forwarding a request when
 * its answer begins, and the upload would never end. Only the first step of a deploy has to wait.
 */
class EventStream {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  /** text that waits for the end of the request */
  #waiting: string[] | undefined;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
    if (request.headers['x-forwarded-for'] === undefined || request.complete) return;
    this.#waiting = [];
    request.once('end', () => this.#send()).once('close', () => this.#send());
  }

  write(text: string): void {
    if (this.#waiting !== undefined) this.#waiting.push(text);
    // As bytes: some versions of Node.js lose the `drain` event of a response that is written as strings
    // (test/platform/http.test.ts), and count UTF-16 characters as unsent bytes.
    else if (!this.#response.destroyed) this.#response.write(Buffer.from(text));
  }

  /** Writes text that is dropped if the client does not keep up. The build log has all lines. */
  offer(text: string): void {
    if (this.#response.writableLength < maxUnread) this.write(text);
  }

  async end(): Promise<void> {
    if (!this.#request.complete) await drain(this.#request);
    this.#send();
    this.#response.end();
  }

  /** Sends the text that waits. */
  #send(): void {
    const text = this.#waiting?.join('') ?? '';
    this.#waiting = undefined;
    if (text !== '') this.write(text);
  }
}

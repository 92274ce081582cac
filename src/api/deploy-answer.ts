import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DeployEvent } from '../deploy/events.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import { errorStatus } from '../errors/codes.ts';
import type { Release } from '../releases/release.ts';
import { drained } from './body.ts';
import type { ApiContext } from './context.ts';
import { type EventRenderer, renderJsonLine, renderText } from './deploy-text.ts';
import { answerJson, answerWhole } from './errors.ts';

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

/**
 * An answer that may have to wait for the end of its request. Text is written as bytes. If a response is written as strings,
 * some versions of Node.js lose its `drain` event (test/platform/http.test.ts), and count UTF-16 characters as unsent bytes.
 */
export interface HeldBack {
  write(text: string): void;
  /** Lets out what was held, whatever has become of the request. */
  release(): void;
}

/**
 * Holds an answer back until its request is here in full, where it comes through a proxy (`X-Forwarded-For`): nginx sends on
 * no more of a request from the first byte of its answer on, and an upload that is told of as it comes would never end.
 * What is told meanwhile is little: the first step of a deploy. (Git says nothing before it has all of a push.)
 */
export function heldBack(request: IncomingMessage, response: ServerResponse): HeldBack {
  let held: string[] | undefined;
  const release = () => {
    request.off('end', release).off('close', release);
    const text = held?.join('') ?? '';
    held = undefined;
    if (text !== '' && !response.destroyed) response.write(Buffer.from(text));
  };
  if (request.headers['x-forwarded-for'] !== undefined && !request.complete) {
    held = [];
    request.on('end', release).on('close', release);
  }
  return {
    write: (text) => {
      if (held === undefined) response.write(Buffer.from(text));
      else held.push(text);
    },
    release,
  };
}

/** More than this unread by the watcher, and lines of log are left out: one who sleeps must not cost us memory. */
const maxUnread = 1024 ** 2;

/** Text that goes out as it comes about. A watcher who goes away changes nothing for the deploy. */
export class EventStream {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #out: HeldBack;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
    this.#out = heldBack(request, response);
  }

  /** For what must arrive. */
  write(text: string): void {
    if (!this.#response.destroyed) this.#out.write(text);
  }

  /** For what may be left out where the watcher does not keep up: the build log has it all. */
  offer(text: string): void {
    if (this.#response.writableLength < maxUnread) this.write(text);
  }

  /** Ends the answer, and lets go of what the sender may still be sending. */
  async end(): Promise<void> {
    if (!this.#request.complete) await drained(this.#request);
    this.#out.release();
    this.#response.end();
  }
}

import { Readable } from 'node:stream';
import type { Router } from '@koa/router';
import { parseSince, sinceHint } from '../../config/since.ts';
import { AppError } from '../../errors/app-error.ts';
import type { LogFilter } from '../../logs/filter.ts';
import type { LogLine } from '../../logs/join.ts';
import { isLogStream, type LogStream, logStreams } from '../../logs/line.ts';
import type { AppService } from '../../service/app-service.ts';
import { need } from '../auth/principal.ts';
import { refuseBody } from '../body.ts';
import {
  type ApiContext,
  type ApiState,
  queryFlag,
  queryText,
  takes,
  targetOf,
  wholeNumber,
} from '../context.ts';

const defaultLines = 100;
const maxLines = 100_000;

const known = ['environment', 'lines', 'follow', 'since', 'release', 'worker', 'stream'] as const;

/** What an app has to say. With `follow=1` the answer goes on until the caller hangs up. */
export function logRoutes(router: Router<ApiState>, service: AppService): void {
  router.get('/v1/apps/:app/logs', need('read'), takes(...known), async (ctx) => {
    const target = targetOf(ctx);
    const format = ctx.accepts('text/plain', 'application/x-ndjson') || 'text/plain';
    const filter = filterOf(ctx);
    const written = format === 'text/plain' ? textLine : jsonLine;
    // What Sluice says has no place among what the app prints, unless it is asked for.
    if (format === 'text/plain') filter.streams ??= ['out', 'err'];
    const lines = linesOf(ctx, filter);
    const follow = queryFlag(ctx, 'follow', false);
    if (follow) refuseBody(ctx.req);
    // Asked first, while the answer can still have a status: the lines of a quiet app may be long in coming.
    await service.status(target);
    const gone = new AbortController();
    // If the caller has disconnected already, no event follows.
    if (ctx.res.destroyed) gone.abort();
    ctx.res.once('close', () => gone.abort());
    ctx.type = `${format}; charset=utf-8`;
    const found = service.logs(target, { filter, lines, follow, signal: gone.signal });
    ctx.body = Readable.from(bytesOf(found, written));
    ctx.flushHeaders();
  });
}

/** Yields each line as bytes, not as a string: see `HeldBack`. */
async function* bytesOf(
  lines: AsyncIterable<LogLine>,
  written: (line: LogLine) => string,
): AsyncGenerator<Buffer> {
  for await (const line of lines) yield Buffer.from(written(line));
}

/** All of them since a moment, where no number is given. @throws AppError `bad_request` */
function linesOf(ctx: ApiContext, { since }: LogFilter): number | null {
  const text = queryText(ctx, 'lines');
  if (text !== undefined) return wholeNumber(text, 'lines', maxLines);
  return since === undefined ? defaultLines : null;
}

/** @throws AppError `bad_request` */
function filterOf(ctx: ApiContext): LogFilter {
  const filter: LogFilter = {};
  const since = queryText(ctx, 'since');
  const release = queryText(ctx, 'release');
  const worker = queryText(ctx, 'worker');
  const stream = queryText(ctx, 'stream');
  if (since !== undefined) filter.since = moment(since);
  if (release !== undefined) filter.release = wholeNumber(release, 'release');
  if (worker !== undefined) filter.process = processName(worker);
  if (stream !== undefined) filter.streams = stream.split(',').map(streamOf);
  return filter;
}

function moment(text: string): Date {
  const since = parseSince(text, new Date(), 'UTC');
  if (since === undefined) {
    throw new AppError('bad_request', `since="${text}" is neither a time back from now nor a moment`, {
      hint: sinceHint,
    });
  }
  return since;
}

function processName(text: string): string {
  if (/^(?:\d+|[A-Za-z][\w-]*(?:\.[\w-]+)?)$/.test(text)) return text;
  throw new AppError('bad_request', `worker="${text}" names no process`, {
    hint: 'web.1 is one, web are all of its kind, and 1 is short for web.1.',
  });
}

function streamOf(text: string): LogStream {
  if (isLogStream(text)) return text;
  throw new AppError('bad_request', `stream="${text}" is no stream of a log`, {
    hint: `There are ${logStreams.join(', ')}; several have commas between them.`,
  });
}

/** A line of a log as `application/x-ndjson` has it. */
export interface LogEntry extends Omit<LogLine, 'text'> {
  line: string;
  /** where the line is a JSON object, as those of pino are: its fields */
  json?: Record<string, unknown>;
}

export function textLine({ text }: LogLine): string {
  return `${text}\n`;
}

export function jsonLine({ text, ...rest }: LogLine): string {
  const json = rest.stream === 'sys' ? undefined : objectIn(text);
  const entry: LogEntry = { ...rest, line: text, ...(json && { json }) };
  return `${JSON.stringify(entry)}\n`;
}

function objectIn(text: string): Record<string, unknown> | undefined {
  if (!/^\s*\{.*\}\s*$/s.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import { Readable } from 'node:stream';
import { parseSince, sinceHint } from '../../config/since.ts';
import { AppError } from '../../errors/app-error.ts';
import type { LogFilter } from '../../logs/filter.ts';
import type { LogLine } from '../../logs/line.ts';
import { isLogStream, type LogStream, logStreams } from '../../logs/line.ts';
import { readAppLog } from '../../service/logs.ts';
import { refuseBody } from '../body.ts';
import {
  type ApiContext,
  type ApiOptions,
  environmentIdOf,
  queryFlag,
  queryText,
  wholeNumber,
} from '../context.ts';
import type { AddRoute } from '../route.ts';

const defaultLines = 100;
const maxLines = 100_000;

const known = ['environment', 'lines', 'follow', 'since', 'release', 'worker', 'stream'] as const;

/** Serves the log of an environment. With `follow=1` the answer continues until the client disconnects. */
export function logRoutes(add: AddRoute, { service }: ApiOptions): void {
  add('GET /v1/apps/:app/logs', 'read', known, async (ctx) => {
    const environment = await service.find(environmentIdOf(ctx));
    const format = ctx.accepts('text/plain', 'application/x-ndjson') || 'text/plain';
    const filter = filterOf(ctx);
    const written = format === 'text/plain' ? ({ text }: LogLine) => `${text}\n` : jsonLine;
    // Text has only the output of the app by default, without the lines of Sluice.
    if (format === 'text/plain') filter.streams ??= ['out', 'err'];
    const lines = linesOf(ctx, filter);
    const follow = queryFlag(ctx, 'follow', false);
    if (follow) refuseBody(ctx.req);
    const disconnect = new AbortController();
    // If the client has disconnected already, no event follows.
    if (ctx.res.destroyed) disconnect.abort();
    ctx.res.once('close', () => disconnect.abort());
    const found = readAppLog(environment, { filter, lines, follow, signal: disconnect.signal });
    // As bytes: see `answerLive`.
    const bytes = async function* () {
      for await (const line of found) yield Buffer.from(written(line));
    };
    ctx.type = `${format}; charset=utf-8`;
    ctx.body = Readable.from(bytes());
    // The first line of a quiet app may take long.
    ctx.flushHeaders();
  });
}

/** Returns the number of lines; null for all lines of a query with `since`. @throws AppError `bad_request` */
function linesOf(ctx: ApiContext, { since }: LogFilter): number | null {
  const text = queryText(ctx, 'lines');
  if (text !== undefined) return wholeNumber(text, 'lines', { maximum: maxLines });
  return since === undefined ? defaultLines : null;
}

/** @throws AppError `bad_request` */
function filterOf(ctx: ApiContext): LogFilter {
  const filter: LogFilter = {};
  const since = queryText(ctx, 'since');
  const release = queryText(ctx, 'release');
  const worker = queryText(ctx, 'worker');
  const stream = queryText(ctx, 'stream');
  if (since !== undefined) filter.since = timeOf(since);
  if (release !== undefined) filter.release = wholeNumber(release, 'release');
  if (worker !== undefined) filter.process = processName(worker);
  if (stream !== undefined) filter.streams = stream.split(',').map(streamOf);
  return filter;
}

function timeOf(text: string): Date {
  const since = parseSince(text, new Date(), 'UTC');
  if (since === undefined) {
    throw new AppError('bad_request', `invalid since: "${text}" (expected a duration or a time)`, {
      hint: sinceHint,
    });
  }
  return since;
}

function processName(text: string): string {
  if (/^(?:\d+|[A-Za-z][\w-]*(?:\.[\w-]+)?)$/.test(text)) return text;
  throw new AppError('bad_request', `invalid worker: "${text}" (expected the name of a process)`, {
    hint: 'Use web.1 for one process, web for all processes of that kind, or 1 for web.1.',
  });
}

function streamOf(text: string): LogStream {
  if (isLogStream(text)) return text;
  throw new AppError('bad_request', `invalid stream: "${text}"`, {
    hint: `Use ${logStreams.join(', ')}, or several with commas between them.`,
  });
}

/** Line of a log in `application/x-ndjson`. */
export interface LogEntry extends Omit<LogLine, 'text'> {
  line: string;
  /** fields of a line that is a JSON object, as from pino */
  json?: Record<string, unknown>;
}

function jsonLine({ text, ...rest }: LogLine): string {
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

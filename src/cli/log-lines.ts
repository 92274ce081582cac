import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogEntry } from '../api/routes/logs.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { ApiClient, CallOptions } from './client.ts';
import { lines } from './lines.ts';
import { appPath } from './target.ts';

/** How long a follower waits for a server that is gone before it tries again, in ms. */
const retryAfter = 500;

export interface LogEntryText {
  entry: LogEntry;
  /** the same as it came */
  text: string;
}

/**
 * The lines of a log. Followed, it goes on when the connection breaks, as it does when the server is restarted: it asks
 * for what came since the last line that it has seen, and passes over those that it has seen of that very time.
 * @param broken told when the connection is lost, once each time
 * @throws AppError what the server says, or that none answers at first
 */
export async function* logLines(
  client: ApiClient,
  target: EnvironmentId,
  query: NonNullable<CallOptions['query']>,
  broken: () => void,
): AsyncGenerator<LogEntryText> {
  const open = (asked: NonNullable<CallOptions['query']>) =>
    client.open('GET', appPath(target, '/logs'), { query: asked, accept: 'application/x-ndjson' });
  let answer = await open({ ...query, environment: target.environment });
  let time = new Date(answer.headers.date ?? Date.now()).toISOString();
  let seen = 0;
  for (let skip = 0; ; ) {
    for await (const text of linesOf(answer, query['follow'] === true)) {
      const entry: LogEntry = JSON.parse(text);
      if (skip > 0 && entry.time === time) {
        skip -= 1;
        continue;
      }
      seen = entry.time === time ? seen + 1 : 1;
      time = entry.time;
      yield { entry, text };
    }
    if (query['follow'] !== true) return;
    broken();
    skip = seen;
    answer = await again(() =>
      open({ ...query, environment: target.environment, since: time, lines: undefined }),
    );
  }
}

/** @param follow whether an answer that breaks off only ends */
async function* linesOf(answer: IncomingMessage, follow: boolean): AsyncGenerator<string> {
  try {
    yield* lines(answer);
  } catch (error) {
    if (!follow)
      throw new AppError('not_running', 'the connection to the server broke off', { cause: error });
  }
}

/** Tries until the server is there again. @throws AppError what else it says */
async function again(open: () => Promise<IncomingMessage>): Promise<IncomingMessage> {
  for (;;) {
    await sleep(retryAfter);
    try {
      return await open();
    } catch (error) {
      const away = error instanceof AppError && ['not_running', 'stopping'].includes(error.code);
      if (!away) throw error;
    }
  }
}

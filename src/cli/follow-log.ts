import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogEntry } from '../api/routes/logs.ts';
import { type CallOptions, linesOf } from '../client/api-client.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { appPath, connect, ndjson } from './command.ts';
import { printRemark } from './output.ts';

/** Delay before the next attempt to reach a lost server, in ms. */
const retryAfter = 500;

/**
 * Yields the entries of a log. With `follow`, survives a restart of the server: asks for the lines since the last one, and
 * skips those of the same time that were seen before.
 * @throws AppError the error of the server; `not_running` if no server answers at first
 */
export async function* logLines(
  id: EnvironmentId,
  query: NonNullable<CallOptions['query']>,
): AsyncGenerator<LogEntry> {
  const follow = query['follow'] === true;
  const client = await connect();
  const open = (changed: NonNullable<CallOptions['query']>) =>
    client.open('GET', appPath(id, '/logs'), { query: { ...query, ...changed }, accept: ndjson });
  let answer = await open({});
  let time = new Date(answer.headers.date ?? Date.now()).toISOString();
  let seen = 0;
  for (let skip = 0; ; skip = seen) {
    try {
      for await (const line of linesOf(answer)) {
        const entry: LogEntry = JSON.parse(line);
        if (skip > 0 && entry.time === time) {
          skip -= 1;
          continue;
        }
        seen = entry.time === time ? seen + 1 : 1;
        time = entry.time;
        yield entry;
      }
    } catch (error) {
      // Another program answers.
      if (error instanceof SyntaxError) throw error;
      if (!follow)
        throw new AppError('not_running', 'the connection to the server was lost', { cause: error });
    }
    if (!follow) return;
    printRemark('the connection is lost; trying again …');
    answer = await retry(() => open({ since: time, lines: undefined }));
  }
}

/** Repeats a request until a server answers. @throws AppError any other error of the server */
async function retry(open: () => Promise<IncomingMessage>): Promise<IncomingMessage> {
  for (;;) {
    await sleep(retryAfter);
    try {
      return await open();
    } catch (error) {
      const isAway = error instanceof AppError && ['not_running', 'stopping'].includes(error.code);
      if (!isAway) throw error;
    }
  }
}

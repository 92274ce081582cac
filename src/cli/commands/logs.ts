import { type Command, Option } from 'commander';
import { isTimeBack, parseSince, sinceHint } from '../../config/since.ts';
import { printBuildLog } from '../build-log.ts';
import type { CallOptions } from '../client.ts';
import { type AppOptions, appSubcommand, connect } from '../command.ts';
import { UsageError } from '../failure.ts';
import { type LogEntryText, logLines } from '../log-lines.ts';
import { LogView } from '../log-view.ts';
import { wholeNumber } from '../numbers.ts';
import { put, putJson, putRaw, remark } from '../output.ts';
import { parseTarget } from '../target.ts';

interface LogOptions extends AppOptions {
  lines?: string;
  follow?: true;
  since?: string;
  release?: string;
  worker?: string;
  stream?: string;
  raw?: true;
  build?: string;
}

export function registerLogsCommand(program: Command): void {
  appSubcommand(program, 'logs <app>', 'what an app has written')
    .option('-n, --lines <number>', 'how many of the last lines (default: 100; all with --since)')
    .option('-f, --follow', 'go on with what it writes from now on')
    .option('--since <time>', 'only what is not older: 10m, 2h, 1d, or 2026-01-31T08:00')
    .option('--release <number>', 'only what that release has written')
    .option('--worker <process>', 'only one process, such as web.1, 1 for short; or all of a kind: web')
    .addOption(new Option('--stream <name>', 'only one stream').choices(['out', 'err', 'sys']))
    .option('--raw', 'only the text, as it was written')
    .option('--build <release>', 'what the build of that release has printed, instead')
    .action(logs);
}

async function logs(name: string, options: LogOptions): Promise<void> {
  const { environment, build, ...others } = options;
  const target = parseTarget(name, environment);
  if (build !== undefined) {
    const [other] = Object.keys(others);
    if (other !== undefined)
      throw new UsageError(`--build prints all of a build's log: --${other} is no part of it`);
    return printBuildLog(target, wholeNumber(build, '--build'));
  }
  const query = queryOf(options);
  const show = shownBy(options);
  const found = logLines(await connect(), target, query, () =>
    remark('the connection is lost; trying again …'),
  );
  for await (const line of found) await show(line);
}

function queryOf(options: LogOptions): NonNullable<CallOptions['query']> {
  const { lines, follow = false, since, release, worker, stream, raw } = options;
  if (raw && options.json) throw new UsageError('--raw and --json are two forms: give one of them');
  if (raw && stream === 'sys') throw new UsageError('--raw leaves out what --stream sys asks for');
  return {
    lines: lines === undefined ? undefined : wholeNumber(lines, '--lines', 0),
    follow,
    since: since === undefined ? undefined : sinceOf(since),
    release: release === undefined ? undefined : wholeNumber(release, '--release'),
    worker,
    stream: stream ?? (raw ? 'out,err' : undefined),
  };
}

/** A time back from now is for the server to count, by its own clock. A moment is meant in the time zone of whoever asks. */
function sinceOf(text: string): string {
  if (isTimeBack(text)) return text;
  const since = parseSince(text, new Date(), 'local');
  if (since !== undefined) return since.toISOString();
  throw new UsageError(`--since "${text}" is neither a time back from now nor a moment`, sinceHint);
}

function shownBy({ raw, json }: LogOptions): (line: LogEntryText) => Promise<void> {
  if (json) return ({ text }) => putJson(text);
  if (raw) return ({ entry }) => putRaw(entry.line);
  const view = new LogView();
  return ({ entry }) => put(view.show(entry));
}

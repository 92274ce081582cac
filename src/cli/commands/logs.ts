import { type Command, Option } from 'commander';
import type { LogEntry } from '../../api/routes/logs.ts';
import type { CallOptions } from '../../client/api-client.ts';
import type { EnvironmentId } from '../../config/paths.ts';
import { isTimeBack, parseSince, sinceHint } from '../../config/since.ts';
import { printableJson, printableLine } from '../../system/text/printable.ts';
import { type AppOptions, appSubcommand, wholeNumber } from '../command.ts';
import { UsageError } from '../failure.ts';
import { logLines } from '../follow-log.ts';
import { formatClock, formatDay, hasColours, paint, printLine, writeLine } from '../output.ts';
import { printBuildLog } from './releases.ts';

interface LogOptions extends AppOptions {
  lines?: number;
  follow?: true;
  since?: string;
  release?: number;
  worker?: string;
  stream?: string;
  raw?: true;
  build?: number;
}

export function registerLogsCommand(program: Command): void {
  appSubcommand(program, 'logs <app>', 'Show the output of an app')
    .option(
      '-n, --lines <number>',
      'Number of lines to show, the newest (default: 100; all with --since)',
      (text) => wholeNumber(text, '--lines', { minimum: 0 }),
    )
    .option('-f, --follow', 'Show new lines as the app writes them')
    .option('--since <time>', 'Show only lines since then: 10m, 2h, 1d, or 2026-01-31T08:00', parseMoment)
    .option('--release <number>', 'Show only lines of one release', (text) => wholeNumber(text, '--release'))
    .option('--worker <process>', 'Show only one process, such as web.1 (or 1), or all of a kind: web')
    .addOption(new Option('--stream <name>', 'Show only one stream').choices(['out', 'err', 'sys']))
    .option('--raw', 'Print only the text, exactly as the app wrote it')
    .option('--build <release>', 'Show the output of the build of a release instead', (text) =>
      wholeNumber(text, '--build'),
    )
    .action(logs);
}

async function logs(id: EnvironmentId, options: LogOptions): Promise<void> {
  const { environment: _, build, ...others } = options;
  if (build !== undefined) {
    const [other] = Object.keys(others);
    if (other !== undefined) throw new UsageError(`--build shows the whole log: --${other} does not apply`);
    return printBuildLog(id, build);
  }
  const show = printer(options);
  for await (const entry of logLines(id, queryOf(options))) await show(entry);
}

function queryOf(options: LogOptions): NonNullable<CallOptions['query']> {
  const { lines, follow = false, since, release, worker, stream, raw } = options;
  if (raw && options.json) throw new UsageError('--raw and --json exclude each other');
  if (raw && stream === 'sys') throw new UsageError('--raw and --stream sys exclude each other');
  return { lines, follow, since, release, worker, stream: stream ?? (raw ? 'out,err' : undefined) };
}

/** Parses a moment, in the local time zone. A time back from now goes to the server as text, because its clock counts. */
function parseMoment(text: string): string {
  if (isTimeBack(text)) return text;
  const since = parseSince(text, new Date(), 'local');
  if (since !== undefined) return since.toISOString();
  throw new UsageError(`invalid --since: "${text}" (expected a duration or a time)`, sinceHint);
}

/** Returns a function that prints entries such as `08:32:54 web.0   text`, and a line with the date if another day begins. */
function printer({ raw, json }: LogOptions): (entry: LogEntry) => Promise<void> {
  if (json) return (entry) => writeLine(printableJson(JSON.stringify(entry)));
  if (raw) return ({ line }) => writeLine(line);
  const colours = hasColours();
  let today = formatDay(new Date());
  let width = 6;
  return async ({ time, process, stream, line }) => {
    const date = new Date(time);
    const day = formatDay(date);
    if (day !== today) await printLine(paint('dim', `-- ${day} --`));
    today = day;
    width = Math.max(width, process.length);
    const prefix = `${formatClock(date)} ${process.padEnd(width)}`;
    const text = printableLine(line, colours && stream !== 'sys');
    const shown = stream === 'sys' ? paint('cyan', `* ${text}`) : text;
    await printLine(`${paint(stream === 'err' ? ['dim', 'red'] : 'dim', prefix)}  ${shown}`);
  };
}

import type { LogEntry } from '../../api/routes/logs.ts';
import type { AppStatus } from '../../apps/status.ts';
import { environmentName } from '../../config/paths.ts';
import type { BackgroundStatus, WorkerStatus } from '../../protocol/runner.ts';
import { printable, printableLine } from '../../system/text/printable.ts';
import { formatClock, paint, stateColour, table } from '../output.ts';
import { age, bytes, describeProblem, percent, stateText, usageOf, workersText } from '../status-view.ts';

/** Contents of the screen of `sluice monit`. */
export interface View {
  apps: AppStatus[];
  /** name of the app whose processes and log are shown, such as `shop@staging`; undefined if there is no app */
  selected: string | undefined;
  /** last lines of its log */
  log: LogEntry[];
  /** why the figures are not current; undefined if they are */
  fault: string | undefined;
  now: Date;
}

/** Most rows of the list of apps, as a part of the screen. */
const partOfApps = 1 / 3;

/**
 * Returns the lines that fill a terminal: the apps, the processes of the selected app, and the end of its log. A line may be longer
 * than the screen is wide.
 * @param rows height of the terminal
 */
export function frame(view: View, rows: number, keepColours: boolean): string[] {
  const { apps, selected, log, fault, now } = view;
  const app = apps.find((each) => nameOf(each) === selected);
  const help = paint('dim', 'up and down select an app, q quits');
  const title = `Sluice, ${formatClock(now)}   ${help}`;
  const state = fault === undefined ? [] : [paint('red', fault)];
  const processes = app === undefined ? [] : ['', ...processLines(app)];
  const list = appLines(apps, selected, Math.max(3, Math.floor(rows * partOfApps)));
  const above = [title, ...state, '', ...list, ...processes, ''].slice(0, rows);
  const room = Math.max(0, rows - above.length);
  const printed = room === 0 ? [] : log.slice(-room).map((entry) => logLine(entry, keepColours));
  return [...above.map((line) => printable(line, keepColours)), ...printed];
}

/** Returns the name of an app's environment. */
export function nameOf({ name: app, environment }: AppStatus): string {
  return environmentName({ app, environment });
}

/** Returns the rows of apps around the selected one. @param most number of lines, with the head */
function appLines(apps: AppStatus[], selected: string | undefined, most: number): string[] {
  const rows = apps.map((app) => {
    const isSelected = nameOf(app) === selected;
    const { restarts, cpu, memory } = usageOf(app);
    return [
      isSelected ? paint('inverse', `> ${nameOf(app)}`) : `  ${nameOf(app)}`,
      stateText(app),
      app.release,
      workersText(app),
      ...[cpu, memory, restarts],
    ];
  });
  const text = table('APP STATE RELEASE WORKERS CPU MEMORY RESTARTS', rows, 'No apps yet.');
  const [head = '', ...lines] = text.split('\n');
  const at = apps.findIndex((app) => nameOf(app) === selected);
  const room = most - 1;
  const first = Math.min(Math.max(0, at - Math.floor(room / 2)), Math.max(0, lines.length - room));
  return [head, ...lines.slice(first, first + room)];
}

function processLines(app: AppStatus): string[] {
  const problem = describeProblem(app);
  const text = table(
    'PROCESS PID STATE RELEASE UP RESTARTS CPU MEMORY DELAY CONNECTIONS REQUESTS',
    processRows(app),
    `${nameOf(app)} has no processes`,
  );
  const since = paint(
    'dim',
    `${nameOf(app)} has been ${app.state} for ${age(app.since)}, ${app.url ?? 'without a port'}`,
  );
  return [since, ...(problem === '' ? [] : problem.split('\n')), ...text.split('\n')];
}

function processRows({ workers, background }: AppStatus): (string | number | null)[][] {
  const ofWorkers = workers.map((worker) => [
    ...cells(`web.${worker.instance}`, worker),
    worker.eventLoopDelayMs === null ? null : `${worker.eventLoopDelayMs} ms`,
    worker.connections,
    worker.requests,
  ]);
  const ofBackground = background.map((process) => [
    ...cells(`${process.name}.${process.instance}`, process),
    null,
    null,
    null,
  ]);
  return [...ofWorkers, ...ofBackground];
}

/** Returns the cells that workers and background processes have. */
function cells(name: string, process: WorkerStatus | BackgroundStatus): (string | number | null)[] {
  const { pid, state, release, startedAt, restarts, cpuPercent, memoryBytes } = process;
  const up = startedAt && age(startedAt);
  return [
    name,
    pid,
    paint(stateColour(state), state),
    release,
    up,
    restarts,
    percent(cpuPercent),
    bytes(memoryBytes),
  ];
}

function logLine({ time, process, stream, line }: LogEntry, keepColours: boolean): string {
  const text = printableLine(line, keepColours && stream !== 'sys').replaceAll('\t', '    ');
  return `${paint('dim', `${formatClock(new Date(time))} ${process.padEnd(6)}`)}  ${text}`;
}

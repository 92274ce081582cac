import type { AppStatus } from '../apps/status.ts';
import { environmentName } from '../config/paths.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { printableLine } from '../system/text/printable.ts';
import { domainsTable } from './domain-view.ts';
import { formatTime, paint, stateColour, table } from './output.ts';

/** An app and its processes, for people. */
export function describeApp(app: AppStatus): string {
  const name = environmentName({ app: app.name, environment: app.environment });
  const release = app.release === null ? 'no release is live' : `release ${app.release}`;
  const parts = [
    `${name} is ${stateText(app)} since ${formatTime(app.since)}: ${release}, ${app.url}`,
    describeProblem(app),
    describeCrashes(app),
    app.domains.length === 0 ? '' : domainsTable(app.domains),
    workersTable(app),
    backgroundTable(app),
    cronTable(app),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

export function stateText({ state, deploying, background }: AppStatus): string {
  const crashed = background.filter((process) => process.state === 'crashed');
  return [
    paint(stateColour(state), state),
    ...crashed.map(({ name, instance }) => paint('red', `${name}.${instance} crashed`)),
    ...(deploying.length === 0 ? [] : [`deploying ${deploying.join(', ')}`]),
  ].join(', ');
}

/** Describes why an app does not start, and what to do. A server of an earlier version sends no `problem`. */
export function describeProblem({ problem }: Partial<Pick<AppStatus, 'problem'>>): string {
  if (!problem) return '';
  const { at, message, hint } = problem;
  return `${paint('red', 'not started')} (${formatTime(at)}): ${message}${hint && `\n  ${hint}`}`;
}

/** `1/2` where one is missing. */
export function workersText({ workers, wanted }: AppStatus): string {
  const open = workers.filter(({ state }) => state === 'open').length;
  return wanted === null || open === wanted ? String(open) : `${open}/${wanted}`;
}

/** Only while it matters: what died once and runs again is told by the count of restarts. */
function describeCrashes(app: AppStatus): string {
  const { state, crash, workers, wanted, background } = app;
  const open = workers.filter((worker) => worker.state === 'open').length;
  const isMissing = state !== 'stopped' && (wanted === null || open < wanted);
  const crashes = [
    ...(crash !== null && isMissing ? [crash] : []),
    ...background.flatMap((process) =>
      process.crash !== null && process.pid === null ? [process.crash] : [],
    ),
  ];
  if (crashes.length === 0) return '';
  const texts = crashes.map(({ at, message, output }) =>
    [`${formatTime(at)}: ${message}`, ...output.map((line) => `  | ${printableLine(line, false)}`)].join(
      '\n',
    ),
  );
  const name = environmentName({ app: app.name, environment: app.environment });
  return [
    ...texts,
    `\`sluice logs ${name}\` has all that was printed; \`sluice rollback ${name}\` leaves a release that does not work.`,
  ].join('\n');
}

function workersTable({ workers }: AppStatus): string {
  if (workers.length === 0) return '';
  const head = 'PID STATE RELEASE INSTANCE UP RESTARTS CPU MEMORY DELAY CONNECTIONS REQUESTS'.split(' ');
  const rows = workers.map((worker) => [
    String(worker.pid),
    paint(stateColour(worker.state), worker.state),
    String(worker.release),
    String(worker.instance),
    age(worker.startedAt),
    String(worker.restarts),
    percent(worker.cpuPercent),
    bytes(worker.memoryBytes),
    worker.eventLoopDelayMs === null ? '-' : `${worker.eventLoopDelayMs} ms`,
    String(worker.connections ?? '-'),
    String(worker.requests ?? '-'),
  ]);
  return table([head, ...rows]);
}

function backgroundTable({ background }: AppStatus): string {
  if (background.length === 0) return '';
  const rows = background.map((process) => [
    `${process.name}.${process.instance}`,
    String(process.pid ?? '-'),
    paint(stateColour(process.state), process.state),
    String(process.release),
    process.startedAt === null ? '-' : age(process.startedAt),
    String(process.restarts),
    percent(process.cpuPercent),
    bytes(process.memoryBytes),
  ]);
  return table(['PROCESS PID STATE RELEASE UP RESTARTS CPU MEMORY'.split(' '), ...rows]);
}

function cronTable({ cron }: AppStatus): string {
  if (cron.length === 0) return '';
  const rows = cron.map(({ name, schedule, nextRun, running, last }) => [
    name,
    schedule,
    running ? 'running' : nextRun === null ? '-' : formatTime(nextRun),
    last === null ? '-' : formatTime(last.at),
    last === null ? '-' : `${paint(last.outcome === 'done' ? 'green' : 'red', last.outcome)}: ${last.detail}`,
  ]);
  return table([['CRON', 'SCHEDULE', 'NEXT', 'LAST', 'RESULT'], ...rows]);
}

function age(iso: string): string {
  const milliseconds = Math.max(0, Date.now() - Date.parse(iso));
  const days = Math.floor(milliseconds / 86_400_000);
  if (days > 0) return `${days} d ${Math.floor((milliseconds % 86_400_000) / 3_600_000)} h`;
  const hours = Math.floor(milliseconds / 3_600_000);
  if (hours > 0) return `${hours} h ${Math.floor((milliseconds % 3_600_000) / 60_000)} min`;
  return formatDuration(milliseconds);
}

function percent(value: number | null): string {
  return value === null ? '-' : `${Math.round(value)} %`;
}

function bytes(value: number | null): string {
  return value === null ? '-' : formatBytes(value);
}

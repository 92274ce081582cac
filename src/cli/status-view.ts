import { stripVTControlCharacters } from 'node:util';
import type { AppStatus } from '../apps/status.ts';
import { environmentName } from '../config/paths.ts';
import type { DomainView } from '../edge/domain.ts';
import { counted, formatBytes, formatDuration } from '../system/text/format.ts';
import { printableLine } from '../system/text/printable.ts';
import { formatDay, formatTime, noteText, paint, stateColour, table } from './output.ts';

/** Describes an app and its processes. */
export function describeApp(app: AppStatus): string {
  const node = app.node === null ? '' : ` on Node.js ${app.node}`;
  const release = app.release === null ? 'no release is live' : `release ${app.release}${node}`;
  const parts = [
    `${nameOf(app)} is ${stateText(app)} since ${formatTime(app.since)}: ${release}, ${app.url ?? 'without a port'}`,
    describeMode(app),
    describeRelease(app),
    describeRevert(app),
    describeProblem(app),
    describeStaleBuild(app),
    describeCrashes(app),
    domainsTable(app.domains),
    workersTable(app),
    describeStandby(app),
    backgroundTable(app),
    metricsTable(app),
    oneOffsTable(app),
    cronTable(app),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** Lists apps with their addresses, one a line, and below why some do not start. */
export function listApps(apps: AppStatus[]): string {
  const row = (app: AppStatus) => [...cellsOfApp(app), app.url];
  return appsTable('APP STATE RELEASE WORKERS URL', apps, row);
}

/**
 * Lists apps with the figures of their processes, one a line, and below why some do not start. Leaves out the addresses if the lines
 * would be too long.
 * @param columns width of the terminal; no limit without a terminal
 */
export function listUsage(apps: AppStatus[], columns = process.stdout.columns ?? Infinity): string {
  const row = (app: AppStatus) => {
    const { restarts, cpu, memory } = usageOf(app);
    const up = app.state === 'running' ? shortAge(app.since) : null;
    return [...cellsOfApp(app), restarts, up, cpu, memory];
  };
  const head = 'APP STATE RELEASE WORKERS RESTARTS UP CPU MEMORY';
  const withAddresses = appsTable(`${head} URL`, apps, (app) => [...row(app), app.url]);
  const [first = ''] = withAddresses.split('\n\n');
  const fits = first.split('\n').every((line) => stripVTControlCharacters(line).length <= columns);
  return fits ? withAddresses : appsTable(head, apps, row);
}

function cellsOfApp(app: AppStatus) {
  return [nameOf(app), stateText(app), app.release, workersText(app)];
}

function appsTable(
  head: string,
  apps: AppStatus[],
  row: (app: AppStatus) => (string | number | null)[],
): string {
  const none = 'No apps yet. Deploy one from its directory: sluice deploy --app NAME';
  const problems = apps.map((app) => [nameOf(app), describeProblem(app)]).filter(([, problem]) => problem);
  return [table(head, apps.map(row), none), ...problems.map(([name, problem]) => `${name}: ${problem}`)].join(
    '\n\n',
  );
}

/** Returns the figures of all workers and background processes of an app together. */
export function usageOf({ workers, background }: AppStatus) {
  const processes = [...workers, ...background];
  return {
    restarts: sum(processes.map(({ restarts }) => restarts)),
    cpu: `${Math.round(sum(processes.map(({ cpuPercent }) => cpuPercent)))} %`,
    memory: formatBytes(sum(processes.map(({ memoryBytes }) => memoryBytes))),
  };
}

function sum(values: (number | null)[]): number {
  return values.reduce<number>((total, value) => total + (value ?? 0), 0);
}

/** Describes the commit, the command and the memory limit of the live release. */
function describeRelease({ commit, branch, start, exec, maxMemory }: AppStatus): string {
  const lines = [
    commit && `commit ${commit.slice(0, 10)}${branch === null ? '' : ` of ${printableLine(branch, false)}`}`,
    exec === null && start && `starts with ${printableLine(start, false)}`,
    maxMemory !== null && `memory limit of a worker: ${formatBytes(maxMemory)} ("maxMemory")`,
  ];
  return lines.filter(Boolean).join('\n');
}

/** Describes the mode of an app that does not start from a file. */
function describeMode({ exec }: AppStatus): string {
  return exec === null ? '' : `exec mode: ${exec.reason} (${printableLine(exec.command, false)})`;
}

function nameOf({ name: app, environment }: AppStatus): string {
  return environmentName({ app, environment });
}

export function stateText({ state, deploying, background }: AppStatus): string {
  const failing = background.filter((process) => process.failing);
  return [
    paint(stateColour(state), state),
    ...failing.map(({ name, instance, state: its }) =>
      paint('red', `${name}.${instance} ${its === 'crashed' ? 'crashed' : 'fails'}`),
    ),
    ...(deploying.length === 0 ? [] : [`deploying ${deploying.join(', ')}`]),
  ].join(', ');
}

/** Describes why the live release is not the newest. */
function describeRevert({ reverted }: AppStatus): string {
  if (reverted === null) return '';
  const { release, at, reason } = reverted;
  return `${paint('red', `release ${release} was reverted`)} (${formatTime(at)}): ${reason}`;
}

/** Describes why an app does not start, and what to do. */
export function describeProblem({ problem }: AppStatus): string {
  if (problem === null) return '';
  const { at, message, hint } = problem;
  return `${paint('red', 'not started')} (${formatTime(at)}): ${message}${hint && `\n  ${hint}`}`;
}

/** Describes variables that take effect only with the next build. */
function describeStaleBuild(app: AppStatus): string {
  if (app.changedSinceBuild.length === 0) return '';
  return noteText({
    message: `the live release was built with other values of ${app.changedSinceBuild.join(', ')}`,
    hint: `Push the next commit. To build the live commit again: sluice deploy --app ${nameOf(app)} --release ${app.release}`,
  });
}

function countOpen({ workers }: AppStatus): number {
  return workers.filter(({ state }) => state === 'open').length;
}

/** Formats the number of workers, such as `2`, or `1/2` if one is missing. */
export function workersText(app: AppStatus): string {
  const open = countOpen(app);
  return app.wanted === null || open === app.wanted ? String(open) : `${open}/${app.wanted}`;
}

/** Describes crashes of workers and processes that do not run again, or fail. The column RESTARTS counts the others. */
function describeCrashes(app: AppStatus): string {
  const { state, crash, wanted, background } = app;
  const isMissing = state !== 'stopped' && (wanted === null || countOpen(app) < wanted);
  const crashes = [
    isMissing ? crash : null,
    ...background.map((process) => (process.pid === null || process.failing ? process.crash : null)),
  ].filter((each) => each !== null);
  if (crashes.length === 0) return '';
  const texts = crashes.flatMap(({ at, message, output }) => [
    `${formatTime(at)}: ${message}`,
    ...output.map((line) => `  | ${printableLine(line, false)}`),
  ]);
  const name = nameOf(app);
  const hint = `All output: \`sluice logs ${name}\`. Return to an earlier release: \`sluice rollback ${name}\`.`;
  return [...texts, hint].join('\n');
}

function workersTable({ workers }: AppStatus): string {
  const rows = workers.map((worker) => [
    worker.pid,
    paint(stateColour(worker.state), worker.state),
    worker.release,
    worker.instance,
    age(worker.startedAt),
    worker.restarts,
    percent(worker.cpuPercent),
    bytes(worker.memoryBytes),
    worker.eventLoopDelayMs === null ? null : `${worker.eventLoopDelayMs} ms`,
    worker.connections,
    worker.requests,
  ]);
  return table('PID STATE RELEASE INSTANCE UP RESTARTS CPU MEMORY DELAY CONNECTIONS REQUESTS', rows);
}

/** Describes the release that a rollback reaches without a boot. */
function describeStandby(app: AppStatus): string {
  const { standby } = app;
  if (standby === null) return '';
  const memory = standby.memoryBytes === null ? '' : `, ${formatBytes(standby.memoryBytes)}`;
  const left = formatDuration(Math.max(0, Date.parse(standby.until) - Date.now()));
  return `release ${standby.release} is on standby for another ${left} (${counted(standby.workers, 'worker')}${memory})`;
}

function backgroundTable({ background }: AppStatus): string {
  const rows = background.map((process) => [
    `${process.name}.${process.instance}`,
    process.pid,
    paint(stateColour(process.state), process.state),
    process.release,
    process.startedAt && age(process.startedAt),
    process.restarts,
    percent(process.cpuPercent),
    bytes(process.memoryBytes),
  ]);
  return table('PROCESS PID STATE RELEASE UP RESTARTS CPU MEMORY', rows);
}

/** Lists the metrics that the app has declared, for each process. */
function metricsTable({ workers, background }: AppStatus): string {
  const processes = [
    ...workers.map(({ instance, metrics }) => ({ process: `web.${instance}`, metrics })),
    ...background.map(({ name, instance, metrics }) => ({ process: `${name}.${instance}`, metrics })),
  ];
  const rows = processes.flatMap(({ process, metrics }) =>
    metrics.map(({ name, value, unit }) => [
      process,
      printableLine(name, false),
      printableLine(`${value} ${unit}`.trim(), false),
    ]),
  );
  return table('PROCESS METRIC VALUE', rows);
}

function oneOffsTable({ oneOffs }: AppStatus): string {
  const rows = oneOffs.map(({ id, release, by, detached, startedAt, command }) => [
    id,
    release,
    by,
    detached ? 'detached' : 'attached',
    age(startedAt),
    printableLine(command, false),
  ]);
  return table('RUN RELEASE BY MODE UP COMMAND', rows);
}

function cronTable({ cron }: AppStatus): string {
  const rows = cron.map(({ name, schedule, nextRun, running, last }) => [
    name,
    schedule,
    running ? 'running' : nextRun && formatTime(nextRun),
    last && formatTime(last.at),
    last && `${paint(last.outcome === 'done' ? 'green' : 'red', last.outcome)}: ${last.detail}`,
  ]);
  return table('CRON SCHEDULE NEXT LAST RESULT', rows);
}

export function age(iso: string): string {
  const milliseconds = Math.max(0, Date.now() - Date.parse(iso));
  const days = Math.floor(milliseconds / 86_400_000);
  if (days > 0) return `${days} d ${Math.floor((milliseconds % 86_400_000) / 3_600_000)} h`;
  const hours = Math.floor(milliseconds / 3_600_000);
  if (hours > 0) return `${hours} h ${Math.floor((milliseconds % 3_600_000) / 60_000)} min`;
  return formatDuration(milliseconds);
}

const unitsOfAge: [unit: string, milliseconds: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
];

/** Formats the time since a moment in its largest unit: `12 d`. */
function shortAge(iso: string): string {
  const milliseconds = Math.max(0, Date.now() - Date.parse(iso));
  const [unit, length] = unitsOfAge.find(([, length]) => milliseconds >= length) ?? ['s', 1000];
  return `${Math.floor(milliseconds / length)} ${unit}`;
}

export function percent(value: number | null): string | null {
  return value === null ? null : `${Math.round(value)} %`;
}

export function bytes(value: number | null): string | null {
  return value === null ? null : formatBytes(value);
}

export function domainsTable(domains: DomainView[], none?: string): string {
  const rows = domains.map((domain) => [domain.url, destination(domain), certificateText(domain)]);
  return table('DOMAIN APP CERTIFICATE', rows, none);
}

/** Returns the name of the environment that a domain routes to, or `the API`. */
export function destination({ app, environment }: DomainView): string {
  return app === null ? 'the API' : environmentName({ app, environment: environment ?? '' });
}

/** Describes the state of a certificate in one line. */
export function certificateText({ certificate }: DomainView): string {
  const { state, progress, expiresAt, kind, issuer, error, nextTry } = certificate;
  const when = nextTry === null ? '' : `; next try at ${formatTime(nextTry)}`;
  const failure = error === null ? '' : `, ${error.message}${when}`;
  const day = expiresAt === null ? '?' : formatDay(new Date(expiresAt));
  const signer = kind === 'self-signed' ? 'self-signed: for trials' : `by ${issuer ?? '?'}`;
  switch (state) {
    case 'valid':
      return `${paint('green', 'valid')} until ${day}, ${signer}${failure}`;
    case 'expired':
      return `${paint('red', 'expired')} on ${day}, ${signer}${failure}`;
    case 'ordering':
      return paint('yellow', progress ?? 'ordering');
    case 'waiting':
      return paint('yellow', 'none yet');
    case 'failed':
      return `${paint('red', 'none')}${failure}`;
  }
}

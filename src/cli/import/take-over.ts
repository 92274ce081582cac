import { setTimeout as sleep } from 'node:timers/promises';
import type { AppStatus } from '../../apps/status.ts';
import { linesOf } from '../../client/api-client.ts';
import { defaultEnvironment, type EnvironmentId } from '../../config/paths.ts';
import type { DeployEvent } from '../../deploy/events.ts';
import { AppError } from '../../errors/app-error.ts';
import { diffLines, takeBack } from '../../import/diff.ts';
import { changesFor, type FileChange, type Nginx } from '../../import/nginx.ts';
import type { PlannedApp } from '../../import/plan.ts';
import { changeProcesses, findPm2, type Pm2 } from '../../import/pm2-daemon.ts';
import { loadRecord, removeRecord, saveRecord, type TakeoverRecord } from '../../import/records.ts';
import { observeRefusals } from '../../import/refusals.ts';
import { isWildcard, toUrlHost } from '../../system/net/address.ts';
import { listListeners } from '../../system/net/listeners.ts';
import { formatDuration } from '../../system/text/format.ts';
import { appPath, call, connect, ndjson } from '../command.ts';
import { noteText } from '../output.ts';
import type { ShownApp } from './plan-text.ts';

/** Time for requests of nginx's former workers to end, in ms. */
const drainLimit = 60_000;
/** Time for the program `pm2` to stop processes, in ms, without the time that the processes take. */
const stopLimit = 10_000;
/** Time that PM2 gives a process by default, in ms, and the number of processes that PM2 stops at a time. */
const [usualKillTimeout, stoppedAtOnce] = [1600, 2];
/** Time for an app of PM2 to listen after its start, in ms. */
const startLimit = 60_000;

export interface Takeover {
  app: string;
  by: 'nginx' | 'port' | 'none';
  /** longest time in which connections were refused, in ms; null if the port was not moved */
  refusedMs: number | null;
}

interface Tools {
  pm2: Pm2;
  nginx: Nginx;
  /** prints a line for people */
  say: (text: string) => void;
  isDelete: boolean;
}

/**
 * Takes over the traffic of an app that runs in Sluice, and stops its processes in PM2.
 * @throws AppError `takeover_failed`, `nginx_failed`, `pm2_failed`; PM2 then still serves the app
 */
export async function takeOver({ planned, traffic }: ShownApp, tools: Tools): Promise<Takeover> {
  const { name: app, web, background, port } = planned;
  const { pm2, say, isDelete } = tools;
  const ids = [...(web?.ids ?? []), ...background.flatMap((each) => each.ids)];
  const record: TakeoverRecord = {
    ...{ user: pm2.user.name, home: pm2.home, ids, port: port?.port ?? 0, files: [] },
    names: [...(web ? [web] : []), ...background].map(({ name }) => name),
    takenAt: new Date().toISOString(),
  };
  if (traffic.by === 'unknown')
    throw new AppError('takeover_failed', `the port of ${app} in PM2 is not known`, {
      hint: `PM2 still serves the app. Name its port: sluice import pm2 --app ${web?.name} --port NUMBER --apply.`,
    });
  // It may be stopped, as after --undo.
  await call('POST', appPath(idOf(app), '/start'));
  let refusedMs: number | null = null;
  if (traffic.by === 'nginx') await takeOverBehindNginx(planned, record, tools);
  else if (traffic.by === 'port') refusedMs = await takeOverPort(planned, traffic, record, tools);
  else await saveRecord(app, record);
  await changeProcesses(pm2, isDelete ? 'delete' : 'stop', ids);
  say(`PM2 ${isDelete ? 'has deleted' : 'has stopped'} ${record.names.join(', ')}`);
  if (!isDelete) say(`To return to PM2: sluice import pm2 --undo ${app}`);
  return { app, by: traffic.by, refusedMs };
}

/** Returns the changes of nginx's files that send the requests of an app to Sluice. */
export async function nginxChanges({ name, port }: PlannedApp, nginx: Nginx): Promise<FileChange[]> {
  const files = await nginx.files();
  return changesFor(files ?? new Map(), new Set(port?.ports), await addressOf(name));
}

/** Describes changes of files for people. */
export function changesText(changes: readonly FileChange[]): string {
  return changes
    .map(({ path, before, after }) => [path, ...diffLines(before, after)].join('\n  '))
    .join('\n');
}

async function takeOverBehindNginx(planned: PlannedApp, record: TakeoverRecord, { nginx, say }: Tools) {
  const changes = await nginxChanges(planned, nginx);
  say(changesText(changes));
  const path = await saveRecord(planned.name, { ...record, files: changes });
  const left = await nginx.apply(changes, drainLimit);
  say(`nginx sends the requests to Sluice; its former configuration is in ${path}`);
  if (left > 0)
    say(
      noteText({
        message: `connections of ${left} former workers of nginx, such as WebSockets, end with PM2's processes`,
        hint: '',
      }),
    );
}

/** @returns the longest time in which connections were refused, in ms */
async function takeOverPort(
  { name, web }: PlannedApp,
  { port, host }: { port: number; host: string },
  record: TakeoverRecord,
  { pm2, say }: Tools,
): Promise<number> {
  await saveRecord(name, record);
  const ids = web?.ids ?? [];
  const refusals = observeRefusals({ host, port });
  let stopped: Promise<void> | undefined;
  try {
    await movePort(name, { port, host, within: timeToStop(web) }, () => {
      stopped = changeProcesses(pm2, 'stop', ids);
      // The port is moved as soon as PM2 has closed it; an error of PM2 is reported below.
      stopped.catch(() => undefined);
    });
  } catch (error) {
    await refusals.end();
    await stopped?.catch(() => undefined);
    if (stopped !== undefined) await changeProcesses(pm2, 'start', ids);
    await removeRecord(name);
    throw new AppError('takeover_failed', `${name} did not get port ${port}: ${(error as Error).message}`, {
      hint: `PM2 serves the app again. ${(error as { hint?: string }).hint ?? ''}`.trim(),
      cause: error,
    });
  }
  const refusedMs = await refusals.end();
  await stopped;
  say(`${name} has port ${port}: connections were refused for ${formatDuration(refusedMs)}`);
  return refusedMs;
}

/** Returns the longest time in which PM2 stops an app, in ms. */
function timeToStop(app: PlannedApp['web']): number {
  const rounds = Math.ceil((app?.instances ?? 1) / stoppedAtOnce);
  return Math.min(600_000, stopLimit + rounds * Math.max(0, app?.kill_timeout ?? usualKillTimeout));
}

/** Moves an app to another port. @param waiting called when its workers are ready and wait for the port */
async function movePort(
  app: string,
  move: { port: number | null; host?: string; within?: number },
  waiting: () => void = () => undefined,
): Promise<void> {
  const client = await connect();
  const options = { json: move, accept: ndjson };
  const answer = await client.open('POST', appPath(idOf(app), '/port'), options);
  for await (const line of linesOf(answer)) {
    const event = JSON.parse(line) as DeployEvent;
    if (event.event === 'notice' && event.code === 'waits_for_port') waiting();
    if (event.event === 'failed') throw AppError.from(event.error);
    if (event.event === 'live') return;
  }
  throw new AppError('not_running', 'the connection to the server was lost');
}

/**
 * Returns the traffic of an app to PM2, and stops the app in Sluice.
 * @throws AppError `takeover_failed`, `pm2_failed`, `nginx_failed`; Sluice then still serves the app
 */
export async function undoTakeover(app: string, nginx: Nginx, say: (text: string) => void): Promise<void> {
  const record = await loadRecord(app);
  const { ids, port, files, user, names } = record;
  const pm2 = await findPm2(user);
  if (files.length > 0) {
    const changes = await changesBack(files, nginx);
    await changeProcesses(pm2, 'start', ids);
    await untilListens(port, names);
    await nginx.apply(changes, drainLimit);
    say('nginx has its former configuration, and sends the requests to PM2');
  } else {
    if (port !== 0) await movePort(app, { port: null });
    const freedAt = performance.now();
    await changeProcesses(pm2, 'start', ids);
    if (port !== 0) {
      await untilListens(port, names);
      say(`PM2 has port ${port} again after ${formatDuration(performance.now() - freedAt)}`);
    }
  }
  await call('POST', appPath(idOf(app), '/stop'));
  await removeRecord(app);
  say(`${app} is stopped in Sluice; PM2 runs ${names.join(', ')}`);
}

/** Returns the changes that take those of a takeover back. @throws AppError `takeover_failed` if the files no longer allow it */
async function changesBack(files: readonly FileChange[], nginx: Nginx): Promise<FileChange[]> {
  const now = await nginx.files();
  return files.map((change) => {
    const before = now?.get(change.path);
    const after = before === undefined ? undefined : takeBack(before, change);
    if (before !== undefined && after !== undefined) return { path: change.path, before, after };
    const wanted = diffLines(change.after, change.before).join('\n');
    throw new AppError('takeover_failed', `${change.path} was changed after the takeover`, {
      hint: `Sluice still serves the app. Send the requests to PM2 in that file yourself:\n${wanted}`,
    });
  });
}

async function untilListens(port: number, names: readonly string[]): Promise<void> {
  const deadline = performance.now() + startLimit;
  while (!(await listListeners(port))?.some((listener) => listener.port === port)) {
    if (performance.now() > deadline)
      throw new AppError('takeover_failed', `${names.join(', ')} did not listen on port ${port} in PM2`, {
        hint: 'Look into its log: `pm2 logs`.',
      });
    await sleep(50);
  }
}

/** Returns the address at which nginx reaches an app. */
async function addressOf(app: string): Promise<{ host: string; port: number }> {
  const { port } = await call<AppStatus>('GET', appPath(idOf(app)));
  const { host = '127.0.0.1' } = (await listListeners(port))?.[0] ?? {};
  return { host: isWildcard(host) ? '127.0.0.1' : toUrlHost(host), port };
}

function idOf(app: string): EnvironmentId {
  return { app, environment: defaultEnvironment };
}

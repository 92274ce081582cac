import { AppError } from '../../errors/app-error.ts';
import { hasChange } from '../../import/diff.ts';
import { areRestored, changesFor, changesText, type FileChange, type Nginx } from '../../import/nginx.ts';
import type { PlannedApp } from '../../import/plan.ts';
import { changeProcesses, type Pm2 } from '../../import/pm2-daemon.ts';
import { findRecorded } from '../../import/recorded-processes.ts';
import { findRecord, removeRecord, saveRecord, type TakeoverRecord } from '../../import/records.ts';
import { observeRefusals } from '../../import/refusals.ts';
import { lineText, type Traffic, withChanges } from '../../import/traffic.ts';
import { findUnmoved } from '../../import/unmoved.ts';
import { isWildcard, toUrlHost } from '../../system/net/address.ts';
import { listListeners } from '../../system/net/listeners.ts';
import { formatDuration } from '../../system/text/format.ts';
import { call } from '../command.ts';
import { noteText } from '../output.ts';
import { importedPath, movePort, portOf } from './app-port.ts';
import type { ShownApp } from './plan-text.ts';

/** Time for requests of nginx's former workers to end, in ms. */
export const drainLimit = 60_000;
/** Time for the program `pm2` to stop processes, in ms, without the time that the processes take. */
const stopLimit = 10_000;
/** Time that PM2 gives a process by default, in ms, and the number of processes that PM2 stops at a time. */
const [usualKillTimeout, stoppedAtOnce] = [1600, 2];

/** Effect of `--undo` on an app that has the port of PM2, because PM2 and Sluice cannot have the port at once. */
export const gapOfUndo = 'connections are refused until PM2 has started the app, usually for a few seconds';

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
 * Takes over the traffic of an app that runs in Sluice, and stops its processes in PM2. With a record of an earlier takeover, it only
 * finishes that one.
 * @throws AppError `takeover_failed`, `nginx_failed`, `pm2_failed`; the traffic then still arrives where it did
 */
export async function takeOver({ planned, traffic }: ShownApp, tools: Tools): Promise<Takeover> {
  const { name: app, web, background, port } = planned;
  const { pm2, isDelete } = tools;
  const former = await findRecord(app);
  if (former !== undefined) return finishTakeover(app, former, { traffic, ports: port?.ports ?? [] }, tools);
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
  await call('POST', importedPath(app, '/start'));
  let refusedMs: number | null = null;
  if (traffic.by === 'nginx') await takeOverBehindNginx(planned, record, tools);
  else if (traffic.by === 'port') refusedMs = await takeOverPort(planned, traffic, record, tools);
  else await saveRecord(app, record);
  await changeProcesses(pm2, isDelete ? 'delete' : 'stop', ids);
  await sayEnd(app, record, traffic.by, tools);
  return { app, by: traffic.by, refusedMs };
}

/**
 * Stops the processes of a takeover whose traffic has moved: it was interrupted, or PM2 runs them again. The record stays as it is:
 * only the first one has the former files of nginx.
 * @throws AppError `takeover_failed` if the traffic has not moved
 */
async function finishTakeover(
  app: string,
  record: TakeoverRecord,
  { traffic, ports }: { traffic: Traffic; ports: readonly number[] },
  tools: Tools,
): Promise<Takeover> {
  const { pm2, nginx, isDelete } = tools;
  const { running, stopped, missing } = await findRecorded(pm2, record);
  const by = record.files.length > 0 ? 'nginx' : record.port === 0 ? 'none' : 'port';
  const changes = by === 'nginx' ? await changesInPlace(app, record.files, nginx) : [];
  const hasPort = by !== 'port' || (await portOf(app)) === record.port;
  if (changes === undefined || !hasPort || isElsewhere(traffic, record))
    throw new AppError('takeover_failed', `an earlier takeover of ${app} did not move all its traffic`, {
      hint: `Return the app to PM2 first: sluice import pm2 --undo ${app}.`,
    });
  if (by === 'nginx') await assertMoved(app, [record.port, ...ports], [], nginx);
  await call('POST', importedPath(app, '/start'));
  // The files may have been written without a reload.
  if (changes.length > 0) await nginx.apply(changes, drainLimit);
  await changeProcesses(pm2, isDelete ? 'delete' : 'stop', isDelete ? [...running, ...stopped] : running);
  const names = record.names.filter((name) => !missing.includes(name));
  await sayEnd(app, { ...record, names }, by, tools);
  return { app, by, refusedMs: null };
}

/** Returns true if PM2 has traffic that a takeover has not moved. */
function isElsewhere(traffic: Traffic, { port }: TakeoverRecord): boolean {
  switch (traffic.by) {
    case 'nginx':
      return true;
    case 'port':
      return traffic.port !== port;
    case 'unknown':
      return port === 0;
    case 'none':
      return false;
  }
}

/** Returns the present texts of changed files, if all have their change and name the port of an app in Sluice; else undefined. */
async function changesInPlace(
  app: string,
  files: readonly FileChange[],
  nginx: Nginx,
): Promise<FileChange[] | undefined> {
  const texts = await nginx.files();
  const ports = new Set([await portOf(app)]);
  const changes = files.map((change) => {
    const now = texts?.get(change.path);
    if (now === undefined || !hasChange(now, change)) return undefined;
    const namesPort = changesFor(new Map([[change.path, now]]), ports, { host: '127.0.0.1', port: 0 });
    return namesPort.length > 0 ? { path: change.path, before: now, after: now } : undefined;
  });
  return changes.every((change) => change !== undefined) ? changes : undefined;
}

/** Says that PM2 has no process of an app any more, or that they can return. A deleted process has no way back, so no record. */
async function sayEnd(
  app: string,
  { names }: TakeoverRecord,
  by: Takeover['by'],
  { say, isDelete }: Tools,
): Promise<void> {
  if (isDelete) await removeRecord(app);
  say(`PM2 ${isDelete ? 'has deleted' : 'has stopped'} ${names.join(', ')}`);
  say(
    isDelete
      ? `${app} cannot return to PM2 with --undo`
      : `To return to PM2: sluice import pm2 --undo ${app}${by === 'port' ? ` (${gapOfUndo})` : ''}`,
  );
}

/** Returns the changes of nginx's files that send the requests of an app to Sluice. */
export async function nginxChanges({ name, port }: PlannedApp, nginx: Nginx): Promise<FileChange[]> {
  const files = await nginx.files();
  return changesFor(files ?? new Map(), new Set(port?.ports), await addressOf(name));
}

async function takeOverBehindNginx(planned: PlannedApp, record: TakeoverRecord, { nginx, say }: Tools) {
  const { name } = planned;
  const changes = await nginxChanges(planned, nginx);
  if (changes.length === 0)
    throw new AppError('takeover_failed', `nginx no longer passes requests on to port ${record.port}`, {
      hint: 'PM2 still runs the app. Run this command again.',
    });
  say(changesText(changes));
  await assertMoved(name, planned.port?.ports ?? [], changes, nginx);
  const path = await saveRecord(name, { ...record, files: changes });
  const left = await nginx.apply(changes, drainLimit).catch(async (error: unknown) => {
    if (await areRestored(changes)) await removeRecord(name);
    throw error;
  });
  say(`nginx sends the requests to Sluice; its former configuration is in ${path}`);
  if (left > 0)
    say(
      noteText({
        message: `connections of ${left} former workers of nginx, such as WebSockets, end with PM2's processes`,
        hint: '',
      }),
    );
}

/** @throws AppError `takeover_failed` if nginx would still send requests to ports that PM2 closes */
async function assertMoved(
  app: string,
  ports: readonly number[],
  changes: readonly FileChange[],
  nginx: Nginx,
): Promise<void> {
  const files = withChanges((await nginx.files()) ?? new Map(), changes);
  const lines = await findUnmoved(files, new Set(ports));
  if (lines.length === 0) return;
  const message = `nginx sends requests to ${app} that the import cannot move: ${lines.map(lineText).join('; ')}`;
  throw new AppError('takeover_failed', message, {
    hint: `PM2 still serves the app. In these lines, write port ${await portOf(app)}, on which Sluice serves the app. Then reload nginx, and run this command again.`,
  });
}

/** @returns the longest time in which connections were refused, in ms */
async function takeOverPort(
  { name, web }: PlannedApp,
  { port, host }: { port: number; host: string },
  record: TakeoverRecord,
  { pm2, say }: Tools,
): Promise<number> {
  await saveRecord(name, { ...record, host });
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
    // Without an answer of the server, the port may have moved: the record remains then.
    const mayHavePort = await portOf(name).then(
      (now) => now === port,
      () => true,
    );
    if (!mayHavePort) await removeRecord(name);
    const ownHint = (error as { hint?: string }).hint ?? '';
    const hint = mayHavePort ? 'Run this command again.' : `PM2 serves the app again. ${ownHint}`.trim();
    const message = `${name} did not get port ${port}: ${(error as Error).message}`;
    throw new AppError('takeover_failed', message, { hint, cause: error });
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

/** Returns the address at which nginx reaches an app. */
async function addressOf(app: string): Promise<{ host: string; port: number }> {
  const port = await portOf(app);
  const { host = '127.0.0.1' } = (await listListeners(port))?.[0] ?? {};
  return { host: isWildcard(host) ? '127.0.0.1' : toUrlHost(host), port };
}

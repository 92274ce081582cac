import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors/app-error.ts';
import { diffLines, takeBack } from '../../import/diff.ts';
import { changesText, type FileChange, type Nginx } from '../../import/nginx.ts';
import { changeProcesses, findPm2, type Pm2 } from '../../import/pm2-daemon.ts';
import { findRecorded } from '../../import/recorded-processes.ts';
import { loadRecord, saveRecord, type TakeoverRecord } from '../../import/records.ts';
import { observeRefusals } from '../../import/refusals.ts';
import { lineText } from '../../import/traffic.ts';
import { findUnmoved } from '../../import/unmoved.ts';
import { listListeners } from '../../system/net/listeners.ts';
import { formatDuration } from '../../system/text/format.ts';
import { call } from '../command.ts';
import { printRemark } from '../output.ts';
import { importedPath, movePort, portOf } from './app-port.ts';
import { drainLimit, gapOfUndo } from './take-over.ts';

/** Time for an app of PM2 to listen after its start, in ms. */
const startLimit = 60_000;
/** Time for the processes of an app in Sluice to close the port that it has given up, in ms; after that, PM2 tries to listen. */
const freeLimit = 10_000;

interface Undo {
  nginx: Nginx;
  /** prints a line for people */
  say: (text: string) => void;
  /** true to only show what would be done */
  isDry: boolean;
}

/**
 * Returns the traffic of an app to PM2, and stops the app in Sluice. Each step may run again after an interruption.
 * @param name of the app in Sluice, or of one of its apps in PM2
 * @returns the name in Sluice
 * @throws AppError `takeover_failed`, `pm2_failed`, `nginx_failed`; Sluice then still serves the app
 */
export async function undoTakeover(name: string, { nginx, say, isDry }: Undo): Promise<string> {
  const { app, record } = await loadRecord(name, printRemark);
  const { port, host = '127.0.0.1', files, user, names } = record;
  const pm2 = await findPm2(user);
  const { stopped, missing } = await findRecorded(pm2, record);
  if (missing.length > 0)
    throw new AppError('takeover_failed', `PM2 no longer has ${missing.join(', ')}`, {
      hint: 'Nothing has changed. Add these apps to PM2 again, such as with `pm2 resurrect`, and repeat this command.',
    });
  const changes = await changesBack(files, nginx);
  const hasPort = files.length === 0 && port !== 0 && (await portOf(app)) === port;
  if (isDry && changes.length > 0) say(changesText(changes));
  if (hasPort) say(`Sluice closes port ${port} before PM2 starts ${names.join(', ')}: ${gapOfUndo}`);
  if (isDry) {
    say(`PM2 runs ${names.join(', ')} again, and Sluice stops ${app}`);
    return app;
  }
  await using refusals = hasPort ? observeRefusals({ host, port }) : undefined;
  if (hasPort) await movePort(app, { port: null });
  if (hasPort && stopped.length > 0) await untilFree(port);
  try {
    // `pm2 start` would restart those that run.
    await changeProcesses(pm2, 'start', stopped);
    if (port !== 0) await untilListens(port, names);
  } catch (error) {
    throw await stayInSluice(app, record, { pm2, started: stopped, hasPort, error: error as Error });
  }
  if (refusals !== undefined)
    say(`PM2 has port ${port} again: connections were refused for ${formatDuration(await refusals.end())}`);
  if (changes.length > 0) {
    await nginx.apply(changes, drainLimit);
    say('nginx has its former configuration, and sends the requests to PM2');
    await assertReturned(app, port, nginx);
  }
  await call('POST', importedPath(app, '/stop'));
  await saveRecord(app, { ...record, files: [], undoneAt: new Date().toISOString() });
  say(`${app} is stopped in Sluice; PM2 runs ${names.join(', ')}`);
  return app;
}

interface FailedStart {
  pm2: Pm2;
  /** ids of the processes that PM2 was to start */
  started: readonly number[];
  /** true if the app in Sluice has given up its port */
  hasPort: boolean;
  error: Error;
}

/** Stops the processes that PM2 has started, and moves an app in Sluice back to its port. @returns the error to report */
async function stayInSluice(
  app: string,
  { names, port, host }: TakeoverRecord,
  { pm2, started, hasPort, error }: FailedStart,
): Promise<AppError> {
  const steps = [
    () => changeProcesses(pm2, 'stop', started),
    ...(hasPort ? [() => movePort(app, { port, ...(host !== undefined && { host }) })] : []),
  ];
  const faults = [`PM2 did not start ${names.join(', ')}: ${error.message}`];
  for (const step of steps) {
    try {
      await step();
    } catch (fault) {
      faults.push((fault as Error).message);
    }
  }
  const isBack = faults.length === 1;
  return new AppError('takeover_failed', faults.join('; '), {
    hint: `${isBack ? `${app} is in Sluice as before. ` : ''}Look into the log of PM2: \`pm2 logs\`.`,
    cause: error,
  });
}

/** Returns the changes that take those of a takeover back. @throws AppError `takeover_failed` if the files no longer allow it */
async function changesBack(files: readonly FileChange[], nginx: Nginx): Promise<FileChange[]> {
  if (files.length === 0) return [];
  const now = await nginx.files();
  if (now === undefined)
    throw new AppError('takeover_failed', 'nginx does not run', {
      hint: 'Nothing has changed. Start nginx, and repeat this command.',
    });
  return files.map((change) => {
    const before = now.get(change.path);
    const after = before === undefined ? undefined : takeBack(before, change);
    if (before !== undefined && after !== undefined) return { path: change.path, before, after };
    const wanted = diffLines(change.after, change.before).join('\n');
    throw new AppError('takeover_failed', `${change.path} was changed after the takeover`, {
      hint: `Sluice still serves the app. Send the requests to PM2 in that file yourself:\n${wanted}`,
    });
  });
}

/** @throws AppError `takeover_failed` if lines of nginx that people have written still send requests to an app in Sluice */
async function assertReturned(app: string, port: number, nginx: Nginx): Promise<void> {
  const lines = await findUnmoved((await nginx.files()) ?? new Map(), new Set([await portOf(app)]));
  if (lines.length === 0) return;
  throw new AppError(
    'takeover_failed',
    `nginx still sends requests to ${app} in Sluice: ${lines.map(lineText).join('; ')}`,
    {
      hint: `PM2 and Sluice both serve the app. In these lines, write port ${port}, on which PM2 serves the app. Then reload nginx, and run this command again.`,
    },
  );
}

/** Waits until no process of Sluice has a port that the app has given up: a command in exec mode has it until it ends. */
async function untilFree(port: number): Promise<void> {
  const deadline = performance.now() + freeLimit;
  while ((await hasListener(port)) && performance.now() < deadline) await sleep(20);
}

async function untilListens(port: number, names: readonly string[]): Promise<void> {
  const deadline = performance.now() + startLimit;
  while (!(await hasListener(port))) {
    if (performance.now() > deadline)
      throw new AppError('takeover_failed', `${names.join(', ')} did not listen on port ${port} in PM2`, {
        hint: 'Look into its log: `pm2 logs`.',
      });
    await sleep(50);
  }
}

async function hasListener(port: number): Promise<boolean> {
  return (await listListeners(port))?.some((listener) => listener.port === port) ?? false;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { lockHolder, tryLock } from '../system/fs/lock.ts';
import { createLog } from '../system/log/log.ts';
import { signalProcess } from '../system/process/processes.ts';
import { Runner } from './runner.ts';
import { type ProcessRecord, ProcessRecords } from './takeover/process-records.ts';
import { openHost } from './users/host.ts';

/** Time for a server or a runner to end in order, in ms: apps finish their requests in flight. */
const endedWithin = 60_000;

/**
 * Ends all processes of a home, for `install.sh --local --stop`. Ends a server and a runner that still live, in order or by
 * force. Then runs as a new runner itself, and stops the processes that are left.
 * @param say prints a line about each process that was found
 */
async function endLeft(paths: Paths, say: (line: string) => void): Promise<void> {
  // Without this directory, nothing has ever run in this home.
  if (!(await exists(paths.run))) return;
  const ground = await openHost(paths, say);
  await endHolder(paths.serverLock, 'server', say);
  const left = await new ProcessRecords(ground.run.processes).alive();
  await endHolder(ground.lock, 'runner', say);
  const lock = tryLock(ground.lock);
  if (lock === undefined) throw new Error(`a runner for ${paths.home} is still running`);
  const runner = new Runner(paths, ground, createLog(process.stderr.fd, 'runner', 'error'));
  await runner.start();
  await runner.stop();
  for (const line of describe(left)) say(line);
  lock.release();
}

/** Ends the process that holds a lock, by SIGTERM, and by SIGKILL if that takes too long. */
async function endHolder(lock: string, what: string, say: (line: string) => void): Promise<void> {
  const pid = await lockHolder(lock);
  if (pid === undefined) return;
  say(`ending the ${what} (process ${pid})`);
  signalProcess(pid, 'SIGTERM');
  if (await isFree(lock, pid, endedWithin)) return;
  say(`process ${pid} did not end within ${endedWithin / 1000} s and is killed`);
  signalProcess(pid, 'SIGKILL');
  await isFree(lock, pid, endedWithin);
}

async function isFree(lock: string, holder: number, within: number): Promise<boolean> {
  const deadline = performance.now() + within;
  while ((await lockHolder(lock)) === holder) {
    if (performance.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

/** Returns a line for each app that was still running. */
function describe(left: ProcessRecord[]): string[] {
  const apps = Map.groupBy(
    left.filter(({ kind }) => kind === 'worker' || kind === 'background'),
    ({ key }) => key,
  );
  return [...apps].map(([key, records]) => {
    const pids = records.map(({ pid }) => pid).join(', ');
    return `ended ${key}, which was still running (process ${pids})`;
  });
}

if (import.meta.main) {
  await endLeft(new Paths(homeFromEnvironment()), (line) => void process.stdout.write(`sluice: ${line}\n`));
  process.exit();
}

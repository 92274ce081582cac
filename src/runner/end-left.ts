import { setTimeout as sleep } from 'node:timers/promises';
import { homeFromEnvironment, Paths } from '../config/paths.ts';
import { exists } from '../system/fs/exists.ts';
import { lockHolder, tryLock } from '../system/fs/lock.ts';
import { createLog } from '../system/log/log.ts';
import { signalProcess } from '../system/process/processes.ts';
import { Runner } from './runner.ts';
import { ProcessRecords } from './takeover/process-records.ts';
import { openHost } from './users/host.ts';

/** Time for a server or a runner to end in order, in ms: apps finish their requests in flight. */
const endedWithin = 60_000;

/**
 * Ends all processes of a home, for `install.sh --local --stop`. Ends a server and a runner that still live, in order or by
 * force. Then runs as a new runner itself, and stops the processes that are left.
 * @param print prints a line about each process that was found
 */
async function endLeft(paths: Paths, print: (line: string) => void): Promise<void> {
  // Without this directory, nothing has ever run in this home.
  if (!(await exists(paths.run))) return;
  const host = openHost(paths, print);
  await endHolder(paths.serverLock, 'server', print);
  const left = await new ProcessRecords(host.run.processes).alive();
  await endHolder(host.lock, 'runner', print);
  using lock = tryLock(host.lock);
  if (lock === undefined) throw new Error(`a runner for ${paths.home} is still running`);
  const runner = new Runner(paths, host, createLog(process.stderr.fd, 'runner', 'error'));
  await runner.start();
  await runner.stop();
  const ofApps = left.filter(({ kind }) => kind === 'worker' || kind === 'background');
  for (const [key, records] of Map.groupBy(ofApps, (record) => record.key)) {
    const pids = records.map(({ pid }) => pid).join(', ');
    print(`ended ${key}, which was still running (process ${pids})`);
  }
}

/** Ends the process that holds a lock, by SIGTERM, and by SIGKILL if that takes too long. */
async function endHolder(lock: string, what: string, print: (line: string) => void): Promise<void> {
  const pid = await lockHolder(lock);
  if (pid === undefined) return;
  print(`ending the ${what} (process ${pid})`);
  signalProcess(pid, 'SIGTERM');
  if (await isFree(lock, pid)) return;
  print(`process ${pid} did not end within ${endedWithin / 1000} s and is killed`);
  signalProcess(pid, 'SIGKILL');
  await isFree(lock, pid);
}

async function isFree(lock: string, holder: number): Promise<boolean> {
  const deadline = performance.now() + endedWithin;
  while ((await lockHolder(lock)) === holder) {
    if (performance.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

if (import.meta.main) {
  await endLeft(new Paths(homeFromEnvironment()), (line) => void process.stdout.write(`sluice: ${line}\n`));
  process.exit();
}

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../system/amounts.ts';
import { listPids, processStartTimeNow, sessionOf, signalProcess } from '../system/processes.ts';
import { findMarked } from './job-remains.ts';
import type { ProcessRecord } from './process-records.ts';
import type { Identity } from './users/identity.ts';

/** How often it is looked whether those that are known are gone, in ms. */
const lookEvery = 20;
/** How often those that were killed are looked for anew: one that starts processes faster than they are found is given up on. */
const looks = 20;
/** How many processes are looked at before other work has its turn. */
const atATime = 50;

export interface Remains {
  /** of the process that is gone, the leader of its session; undefined where another process may have it by now */
  pid: number | undefined;
  /** in its environment, and so in that of all that it started: see job-remains.ts; undefined where there is none */
  mark: string | undefined;
  /** whom it ran as, where there are users */
  user: Identity | undefined;
}

/**
 * Ends what a process that is gone has left running, in its session and out of it: SIGTERM at once, and SIGKILL after
 * `killTimeout` ms. Fulfilled when nothing is left.
 * @returns how many processes had to be killed
 */
export async function endRemains(remains: Remains, killTimeout: number): Promise<number> {
  // Without /proc only its group can be told.
  if (process.platform !== 'linux' && remains.pid !== undefined) signalProcess(-remains.pid, 'SIGTERM');
  const deadline = performance.now() + killTimeout;
  const told = new Set<number>();
  const killed = new Set<number>();
  for (let look = 0; look < looks; ) {
    const left = await find(remains);
    if (left.size === 0) break;
    const isLate = performance.now() >= deadline;
    if (isLate) look += 1;
    for (const pid of left.keys()) {
      if (isLate && signalProcess(pid, 'SIGKILL')) killed.add(pid);
      else if (!told.has(pid)) signalProcess(pid, 'SIGTERM');
      told.add(pid);
    }
    await untilGone(left, isLate ? performance.now() + 100 : deadline);
  }
  return killed.size;
}

/** How long what a process of an earlier runner has left may take to end, in ms: its own `killTimeout` is not known. */
const patience = 5000;
/** How often it is looked whether a process of an earlier runner is gone, in ms. */
const lookForEarlier = 250;

/**
 * The same for workers and background processes of an earlier runner, each once it is gone: they are no children of ours.
 * @param records of all that were there when this runner started, alive or not
 * @param userOf whom a target's processes run as
 */
export async function endRemainsOfEarlier(
  records: ProcessRecord[],
  userOf: (key: string) => Identity | undefined,
  log: (message: string) => void,
): Promise<void> {
  const end = async ({ kind, key, pid, startTime, mark }: ProcessRecord) => {
    if (kind !== 'worker' && kind !== 'background') return;
    const isAlive = () => startTime !== undefined && processStartTimeNow(pid) === startTime;
    const wasAlive = isAlive();
    while (isAlive()) await sleep(lookForEarlier, undefined, { ref: false });
    const killed = await endRemains({ pid: wasAlive ? pid : undefined, mark, user: userOf(key) }, patience);
    if (killed > 0)
      log(
        `a process of an earlier runner (${kind} of ${key}, pid ${pid}) ${describeRemains(killed, patience)}`,
      );
  };
  await Promise.all(records.map(end));
}

/** For a log: that so many processes had to be killed. */
export function describeRemains(killed: number, killTimeout: number): string {
  const [processes, were] = killed === 1 ? ['1 process', 'was'] : [`${killed} processes`, 'were'];
  return `left ${processes} behind, which ${were} killed: not ended ${formatDuration(killTimeout)} after SIGTERM ("killTimeout")`;
}

/** By pid, with what tells each from another process that gets the same pid. */
async function find({ pid, mark, user }: Remains): Promise<Map<number, string>> {
  const found = new Set(mark === undefined ? [] : await findMarked(mark, user));
  for (const [index, each] of (pid === undefined ? [] : await listPids()).entries()) {
    if (index % atATime === 0) await nextTurn();
    if (sessionOf(each) === pid) found.add(each);
  }
  const alive = [...found].flatMap((each) => {
    const startTime = processStartTimeNow(each);
    return startTime === undefined ? [] : [[each, startTime] as const];
  });
  return new Map(alive);
}

async function untilGone(processes: Map<number, string>, deadline: number): Promise<void> {
  const isAlive = () => [...processes].some(([pid, startTime]) => processStartTimeNow(pid) === startTime);
  while (performance.now() < deadline && isAlive()) await sleep(lookEvery);
}

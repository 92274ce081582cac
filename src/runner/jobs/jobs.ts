import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { accessSync, constants, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { hasCode } from '../../errors/app-error.ts';
import type { CallContext } from '../../protocol/peer.ts';
import type { JobResult, JobSpec } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { needDescriptors } from '../../system/process/descriptors.ts';
import { signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { killOnError } from '../output/spawn-captured.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { asUser, type Identity } from '../users/identity.ts';
import { jobMark, killMarked } from './leftovers.ts';

/** Time between SIGTERM and SIGKILL for a job that is to end, in ms. */
const killDelay = 3000;
/** How long a pipe may stay open after its job: something that left the session may hold it. In ms. */
const closeDelay = 1000;

type Output = { stream: 'stdout' | 'stderr'; text: string };

/**
 * Runs one external command to its end, in a process group of its own that is ended whole, and with it what has left
 * the group: signalling `npm` alone leaves what it started.
 * @param user whom it runs as, where there are users
 * @param group whose limits it is held to
 */
export async function runJob(
  job: JobSpec,
  context: CallContext<Output>,
  records: ProcessRecords,
  { user, group }: { user?: Identity | undefined; group?: Cgroup | undefined } = {},
): Promise<JobResult> {
  needDescriptors();
  const start = performance.now();
  const mark = randomUUID();
  const [command, ...args] = job.lowPriority ? [...lowPriority(), ...job.argv] : job.argv;
  const child = spawn(command as string, args, {
    cwd: job.directory,
    ...asUser(user, { ...job.env, [jobMark]: mark }),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const exited = new Promise<Pick<JobResult, 'code' | 'signal'>>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  forward(child, 'stdout', context);
  forward(child, 'stderr', context);
  const { pid } = child;
  if (pid === undefined) return { ...(await exited), timedOut: false, durationMs: 0 };
  killOnError(pid, () => {
    group?.add(pid);
    if (job.lowPriority) offerToOomKiller(pid);
    records.add('job', job.user ?? '', pid, { mark });
  });

  let timedOut = false;
  let killedAfter: number | undefined;
  let killTimer: NodeJS.Timeout | undefined;
  const kill = () => {
    if (signalProcess(-pid, 'SIGKILL')) killedAfter = killDelay;
  };
  const end = () => {
    signalProcess(-pid, 'SIGTERM');
    killTimer ??= setTimeout(kill, killDelay);
  };
  const timer = setTimeout(() => {
    timedOut = true;
    end();
  }, job.timeout);
  context.signal.addEventListener('abort', end, { once: true });
  if (context.signal.aborted) end();
  try {
    const outcome = await exited;
    const left = await killMarked(mark, user);
    // Without /proc, and for a process that has cleared its environment.
    signalProcess(-pid, 'SIGKILL');
    await withDeadline(closed, closeDelay);
    const durationMs = Math.round(performance.now() - start);
    const shortage = group?.shortages()[0] ?? group?.killedBy();
    return {
      ...outcome,
      timedOut,
      durationMs,
      ...(killedAfter !== undefined && { killedAfter }),
      ...(left > 0 && { left }),
      ...(shortage !== undefined && { shortage }),
    };
  } finally {
    clearTimeout(timer);
    clearTimeout(killTimer);
    context.signal.removeEventListener('abort', end);
    child.stdout?.destroy();
    child.stderr?.destroy();
    records.remove(pid);
  }
}

/** Output goes on as it comes; where the caller does not keep up, the job waits, and not our memory. */
function forward(child: ChildProcess, stream: 'stdout' | 'stderr', context: CallContext<Output>): void {
  const source = child[stream];
  const decoder = new StringDecoder('utf8');
  // Output that cannot be read is lost, and the job goes on.
  source?.on('error', () => undefined);
  source?.on('data', (chunk: Buffer) => {
    if (context.report({ stream, text: decoder.write(chunk) })) return;
    source.pause();
    void context.drained().then(() => source.resume());
  });
}

/** Live traffic comes first: least CPU weight, and the disk only when nobody else wants it. */
function lowPriority(): string[] {
  const nice = ['nice', '-n', '15'];
  return hasIonice() ? [...nice, 'ionice', '-c', '3'] : nice;
}

let ionice: boolean | undefined;

/** ionice is Linux's (util-linux); nice is everywhere. */
function hasIonice(): boolean {
  ionice ??= (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, 'ionice'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return ionice;
}

/** Of 1000 at most; what is ours, and the apps, have 0. */
const score = 500;

/**
 * Makes a process, and what it starts, the first to go where the machine runs out of memory: whatever is larger, it is
 * not to be an app that is live. Anybody may do that to their own (source: proc(5), oom_score_adj).
 */
export function offerToOomKiller(pid: number): void {
  if (process.platform !== 'linux') return;
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    // It has ended; or a container does not let us: then the kernel chooses as it would have.
    if (!hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'EROFS')) throw error;
  }
}

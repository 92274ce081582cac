import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { addAbortListener } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { CallContext } from '../../protocol/peer.ts';
import type { JobResult, JobSpec } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { needDescriptors } from '../../system/process/descriptors.ts';
import { signalProcess } from '../../system/process/processes.ts';
import { isOnPath, spawn, usualPath } from '../../system/process/run.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { killOnError } from '../exit.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { type Identity, identityOptions } from '../users/identity.ts';
import { directoryVariable, startIn } from '../users/working-directory.ts';
import { endLeftovers } from './leftovers.ts';
import { jobMark } from './marked.ts';

/** Time between SIGTERM and SIGKILL, in ms. */
const killDelay = 3000;
/** Longest wait for the pipes of a job that has ended, in ms: a process that left the session may have them open. */
const closeDelay = 1000;

type Output = { stream: 'stdout' | 'stderr'; text: string };

/**
 * Runs one external command to its end, in a session of its own. A job is ended with all processes that it has started, inside
 * and outside of the session: a signal to `npm` alone would leave its children running.
 * @param user user of the command, if apps have users
 * @param group cgroup with the limits of the command
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
  const [command, ...args] = job.lowPriority ? [...(await lowPriority(job)), ...job.argv] : job.argv;
  const late = AbortSignal.timeout(Math.ceil(job.timeout));
  const options: SpawnOptions = {
    ...identityOptions(user, {
      ...directoryVariable(job.directory, job.workingDirectory),
      ...job.env,
      [jobMark]: mark,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  };
  const child = startIn(job.directory, job.workingDirectory, (cwd) =>
    spawn(command as string, args, { ...options, cwd }),
  );
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
    if (job.lowPriority) preferForOomKiller(pid);
    records.add('job', job.user ?? '', pid, { mark });
  });

  let killedAfter: number | undefined;
  let killTimer: NodeJS.Timeout | undefined;
  const kill = () => {
    if (signalProcess(-pid, 'SIGKILL')) killedAfter = killDelay;
  };
  const end = () => {
    signalProcess(-pid, 'SIGTERM');
    killTimer ??= setTimeout(kill, killDelay);
  };
  using _ = addAbortListener(AbortSignal.any([context.signal, late]), end);
  try {
    const outcome = await exited;
    const timedOut = late.aborted;
    const killGroup = () => signalProcess(-pid, 'SIGKILL');
    // Without /proc, there is no search.
    const left = await endLeftovers({ pid, mark, user }, 0).finally(killGroup);
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
    clearTimeout(killTimer);
    child.stdout?.destroy();
    child.stderr?.destroy();
    records.remove(pid);
  }
}

/** Reports output as it arrives. If the caller reads slowly, the job waits, so that our memory does not grow. */
function forward(child: ChildProcess, stream: 'stdout' | 'stderr', context: CallContext<Output>): void {
  // The job continues if its output cannot be read.
  const source = child[stream]?.setEncoding('utf8').on('error', () => undefined);
  source?.on('data', async (text: string) => {
    source.pause();
    await context.report({ stream, text });
    source.resume();
  });
}

/** Returns wrappers that give live traffic the processor and the disk first. Small systems have no ionice. */
async function lowPriority({ env }: JobSpec): Promise<string[]> {
  const hasIonice = await isOnPath('ionice', env['PATH'] ?? usualPath);
  return ['nice', '-n', '15', ...(hasIonice ? ['ionice', '-c', '3'] : [])];
}

/** Score of a low-priority job, of at most 1000. Sluice itself and the apps have 0. */
const oomScore = 500;

/** Lets the kernel kill a process and its children before live apps when memory runs out (proc(5), oom_score_adj). */
function preferForOomKiller(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScore));
  } catch {
    // The process has ended, a container forbids the change, or there is no /proc.
  }
}

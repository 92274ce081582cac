import type { AppLog } from '../../logs/app-log.ts';
import { Framer } from '../../logs/framer.ts';
import type { CronResult, GenerationSpec, JobResult, JobSpec } from '../../protocol/runner.ts';
import { isWildcard } from '../../system/net/address.ts';
import { http } from '../../system/process/footprint.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { describeShortage } from '../exit.ts';
import { runJob } from '../jobs/jobs.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';

/** Outcome of a run. `detail`: such as `exit status 1` or `answered 200`. */
export type CronOutcome = Pick<CronResult, 'outcome' | 'detail'>;

/** Runs a command in the release, and logs its output. If the log is slow, the command waits. */
export async function runCommand(
  spec: GenerationSpec,
  { name, command, timeout }: { name: string; command: string; timeout: number },
  log: AppLog,
  { records, user, group }: { records: ProcessRecords; user: Identity | undefined; group: Cgroup },
  signal: AbortSignal,
): Promise<CronOutcome> {
  const masker = sharedMasker(spec.log.secrets);
  const origin = { release: spec.release, process: `cron.${name}` };
  const framers = { stdout: new Framer(origin, 'out', masker), stderr: new Framer(origin, 'err', masker) };
  const job: JobSpec = {
    argv: ['/bin/sh', '-c', command],
    directory: spec.directory,
    ...(spec.commandDirectory && { workingDirectory: spec.commandDirectory }),
    env: spec.env,
    user: spec.key,
    lowPriority: false,
    timeout,
  };
  const report = async ({ stream, text }: { stream: 'stdout' | 'stderr'; text: string }) => {
    const lines = framers[stream].push(Buffer.from(text).toString('latin1'), new Date());
    if (lines !== '') await log.write(lines);
  };
  const result = await runJob(job, { signal, report }, records, { user, group });
  for (const framer of Object.values(framers)) {
    const rest = framer.end(new Date());
    if (rest !== '') await log.write(rest);
  }
  return describeResult(result, timeout, signal.aborted);
}

/** Describes how a command has ended. @param isStopped true if the app or Sluice was stopped meanwhile */
export function describeResult(result: JobResult, timeout: number, isStopped: boolean): CronOutcome {
  const { code, signal, shortage, timedOut, killedAfter, left } = result;
  const killed =
    killedAfter === undefined
      ? ''
      : `, by SIGKILL: it had not ended ${formatDuration(killedAfter)} after SIGTERM`;
  if (timedOut)
    return { outcome: 'failed', detail: `ended after ${formatDuration(timeout)} ("timeout")${killed}` };
  if (isStopped) return { outcome: 'failed', detail: `ended because the app or Sluice was stopped${killed}` };
  if (code !== 0 && shortage?.of === 'memory')
    return { outcome: 'failed', detail: `ended by ${describeShortage(shortage)}` };
  if (signal !== null) return { outcome: 'failed', detail: `ended by ${signal}` };
  const processes = left === 1 ? 'a process' : `${left} processes`;
  const leftovers = left === undefined ? '' : `, and left ${processes} running, now killed`;
  return { outcome: code === 0 ? 'done' : 'failed', detail: `exit status ${code}${leftovers}` };
}

/** Sends a request to the app's own port, as any client does. */
export function sendRequest(
  { host, port }: GenerationSpec,
  { method, path }: { method: string; path: string },
  timeout: number,
  signal: AbortSignal,
): Promise<CronOutcome> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
  return new Promise((resolve, reject) => {
    const options = {
      host: isWildcard(host) ? '127.0.0.1' : host,
      ...{ port, method, path, signal: bounded, agent: false as const },
      headers: { 'user-agent': 'sluice-cron' },
    };
    const request = http.request(options, (response) => {
      const { statusCode: status = 0 } = response;
      response.resume();
      response.once('end', () =>
        resolve({ outcome: status < 400 ? 'done' : 'failed', detail: `answered ${status}` }),
      );
      response.once('error', reject);
    });
    request.once('error', (error) => {
      const isLate = bounded.aborted && !signal.aborted;
      reject(isLate ? new Error(`no answer within ${formatDuration(timeout)}`) : error);
    });
    request.end();
  });
}

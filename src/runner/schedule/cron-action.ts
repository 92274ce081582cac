import type { AppLog } from '../../logs/app-log.ts';
import { Framer } from '../../logs/framer.ts';
import type { GenerationSpec, JobSpec } from '../../protocol/runner.ts';
import { isWildcard } from '../../system/net/address.ts';
import { http } from '../../system/net/http.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { describeShortage } from '../exit.ts';
import { runJob } from '../jobs/jobs.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import type { Identity } from '../users/identity.ts';

export interface CronOutcome {
  failed: boolean;
  /** such as `exit status 1` or `answered 200` */
  detail: string;
}

/** Runs a command in the release, and puts what it prints into the log of the app; the command waits where that does. */
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
    env: spec.env,
    user: spec.key,
    lowPriority: false,
    timeout,
  };
  let written = Promise.resolve();
  const report = ({ stream, text }: { stream: 'stdout' | 'stderr'; text: string }) => {
    const records = framers[stream].push(Buffer.from(text).toString('latin1'), new Date());
    if (records !== '') written = log.write(records);
    return false;
  };
  const result = await runJob(job, { signal, report, drained: () => written }, records, { user, group });
  for (const framer of Object.values(framers)) {
    const rest = framer.end(new Date());
    if (rest !== '') await log.write(rest);
  }
  const { killedAfter, left } = result;
  const killed =
    killedAfter === undefined
      ? ''
      : `, by SIGKILL: it had not ended ${formatDuration(killedAfter)} after SIGTERM`;
  if (result.timedOut)
    return { failed: true, detail: `ended after ${formatDuration(timeout)} ("timeout")${killed}` };
  if (signal.aborted) return { failed: true, detail: `ended because the app or Sluice was stopped${killed}` };
  if (result.code !== 0 && result.shortage?.of === 'memory') {
    return { failed: true, detail: `ended by ${describeShortage(result.shortage)}` };
  }
  if (result.signal !== null) return { failed: true, detail: `ended by ${result.signal}` };
  const remains =
    left === undefined
      ? ''
      : `, and left ${left === 1 ? 'a process' : `${left} processes`} running, now killed`;
  return { failed: result.code !== 0, detail: `exit status ${result.code}${remains}` };
}

/** Asks the app as any client would. */
export function sendRequest(
  { host, port }: GenerationSpec,
  { method, path }: { method: string; path: string },
  timeout: number,
  signal: AbortSignal,
): Promise<CronOutcome> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
  return new Promise((resolve, reject) => {
    const asking = http.request(
      {
        host: isWildcard(host) ? '127.0.0.1' : host,
        port,
        method,
        path,
        agent: false,
        signal: bounded,
        headers: { 'user-agent': 'sluice-cron' },
      },
      (response) => {
        const { statusCode: status = 0 } = response;
        response.resume();
        response.once('end', () => resolve({ failed: status >= 400, detail: `answered ${status}` }));
        response.once('error', reject);
      },
    );
    asking.once('error', (error) => {
      reject(
        bounded.aborted && !signal.aborted ? new Error(`no answer within ${formatDuration(timeout)}`) : error,
      );
    });
    asking.end();
  });
}

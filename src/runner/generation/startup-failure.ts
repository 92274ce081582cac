import { relative } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatDuration } from '../../system/text/format.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import type { AppProcess } from '../app-process.ts';
import { describeExit, type Exit } from '../exit.ts';
import type { Health } from './health.ts';
import type { WorkerHandle } from './worker-handle.ts';

type BootErrorCode =
  | 'unsupported_start'
  | 'boot_exited'
  | 'boot_timeout'
  | 'boot_cluster'
  | 'health_failed'
  | 'settle_exited';

/** Returns the error for an app that ends before it listens. */
export function exited(worker: WorkerHandle, spec: GenerationSpec, exit: Exit): Promise<AppError> {
  const hint = `Read the last lines that the app printed. To set a missing variable: sluice env set ${spec.key} NAME=value`;
  const message = `the app ${describeExit(exit)} before it listened`;
  if (exit.code !== 0) return failure(worker, 'boot_exited', message, { hint });
  return failure(worker, 'boot_exited', message, { hint: endedByItself, silent: neverStarted(spec) });
}

export function neverListened(worker: WorkerHandle, spec: GenerationSpec): Promise<AppError> {
  const { bootTimeout, port, waitReady } = spec;
  const fault = waitReady
    ? "the app did not call process.send('ready')"
    : `no worker listened on port ${port}`;
  const hint = waitReady
    ? 'Send it when the app can answer requests, remove "waitReady" from the settings, or raise "bootTimeout".'
    : 'The app must call listen(process.env.PORT) in its main process. If the app needs longer, raise "bootTimeout".';
  return failure(worker, 'boot_timeout', `${fault} within ${formatDuration(bootTimeout)}`, { hint });
}

/**
 * Returns the error for an app that listens in the primary process of node:cluster. Outside exec mode, the server catches this
 * error, and boots the app in exec mode.
 */
export function forked(worker: WorkerHandle, { script }: GenerationSpec): Promise<AppError> {
  const hint = script.includes('/.output/server/')
    ? 'Build with the preset node_server (NITRO_PRESET=node_server); "workers" in sluice.json sets the number of processes.'
    : 'Start the file that listens, without node:cluster; "workers" in sluice.json sets the number of processes. Many servers have a setting for one process, such as WEB_CONCURRENCY=1.';
  const message =
    'the app listens in the primary process of node:cluster, and Sluice cannot check the processes that get its connections';
  return failure(worker, 'boot_cluster', message, { hint });
}

/** @param last result of the last health check, which failed */
export function unhealthy(
  worker: WorkerHandle,
  spec: GenerationSpec,
  last: Pick<Health, 'fault' | 'body'> | undefined,
): Promise<AppError> {
  const { path, status } = spec.health;
  const { fault = `did not answer GET ${path}`, body = '' } = last ?? {};
  const message = `the app ${fault}, and was not healthy within ${formatDuration(spec.bootTimeout)}`;
  const hint = `A healthy app answers GET ${path} with ${status.join(', ')}. To check another path or status, in sluice.json: "health": {"path": "/login"}, or {"status": "100-599"}.`;
  return failure(worker, 'health_failed', message, { hint, answer: maskedStart(body, spec) });
}

/** Masks the beginning of a body. Leaves out the beginning of a secret at its end, whose rest is not known. */
function maskedStart(body: string, { log }: GenerationSpec): string[] {
  const masker = sharedMasker(log.secrets);
  const masked = masker.mask(body.slice(0, masker.openFrom(body, '')));
  return Buffer.from(masked, 'latin1').toString().trim().split(/\r?\n/);
}

/** Returns the error for an app that ends after it has listened. */
export function unsettled(worker: WorkerHandle, spec: GenerationSpec, exit: Exit): Promise<AppError> {
  const hint = `Read the last lines that the app printed. A new release must run for ${formatDuration(spec.settleTime)} ("settleTime") before it gets traffic.`;
  const message = `the app listened, and then ${describeExit(exit)}`;
  return failure(worker, 'settle_exited', message, { hint: exit.code === 0 ? endedByItself : hint });
}

interface Explanation {
  hint: string;
  /** hint if the app has printed nothing */
  silent?: string;
  /** lines of the answer to the last health check */
  answer?: string[];
}

/** Limit of the lines of an app that has ended: some errors list every field of an object after their first line. */
const mostLinesOfEnd = 100;

/**
 * Returns an error for a release that does not start, with the last lines that the app printed, and the beginning of its
 * answer. The server finds the reason in these lines: see src/build/failures/boot-error.ts.
 */
export async function failure(
  process: Pick<AppProcess, 'alive' | 'output'>,
  code: BootErrorCode,
  message: string,
  { hint, silent = hint, answer = [] }: Explanation,
): Promise<AppError> {
  if (!process.alive) await process.output.end();
  const hasEnded = code === 'boot_exited' || code === 'settle_exited';
  const output = process.output.everything.lines(hasEnded ? mostLinesOfEnd : undefined);
  const quoted = [
    ...answer.filter((line) => line !== '').map((line) => `  > ${line}`),
    ...output.map((line) => `  | ${line}`),
  ];
  if (output.length > 0) return new AppError(code, [message, ...quoted].join('\n'), { hint });
  return new AppError(code, [`${message} (it printed nothing)`, ...quoted].join('\n'), { hint: silent });
}

/** Hint for an app that ends without an error. */
const endedByItself =
  'Let the app run until SIGTERM. Some programs end when their standard input ends, and the input of an app is empty: set the flag or the variable that prevents this.';

/** Hint for an app that ends without an error and without output: most often its file only exports the app. */
function neverStarted({ directory, script }: GenerationSpec): string {
  const file = relative(directory, script);
  return `${file} ran to its end and did not listen: it may only export the app. Name the file that calls listen() in sluice.json, such as "start": "node server.js".`;
}

import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatDuration } from '../../system/text/format.ts';
import { describeExit, type Exit } from '../exit.ts';
import type { WorkerHandle } from './worker-handle.ts';

type BootErrorCode = 'boot_exited' | 'boot_timeout' | 'boot_cluster' | 'health_failed' | 'settle_exited';

/** Returns the error for an app that ends before it listens. */
export function exited(worker: WorkerHandle, { key }: GenerationSpec, exit: Exit): Promise<AppError> {
  const hint = `Read the last lines that the app printed. To set a missing variable: sluice env set ${key} NAME=value`;
  const message = `the app ${describeExit(exit)} before it listened`;
  return failure(worker, 'boot_exited', message, exit.code === 0 ? endedByItself : hint);
}

export function neverListened(worker: WorkerHandle, spec: GenerationSpec): Promise<AppError> {
  const { bootTimeout, port, waitReady } = spec;
  const fault = waitReady
    ? "the app did not call process.send('ready')"
    : `no worker listened on port ${port}`;
  const hint = waitReady
    ? 'Send it when the app can answer requests, remove "waitReady" from the settings, or raise "bootTimeout".'
    : 'The app must call listen(process.env.PORT) in its main process. If the app needs longer, raise "bootTimeout".';
  return failure(worker, 'boot_timeout', `${fault} within ${formatDuration(bootTimeout)}`, hint);
}

/** Returns the error for an app that uses node:cluster: switches, drains and checks do not reach its child processes. */
export function forked(worker: WorkerHandle, { script }: GenerationSpec): Promise<AppError> {
  const hint = script.includes('/.output/server/')
    ? 'Build with the preset node_server (NITRO_PRESET=node_server); "workers" in sluice.json sets the number of processes.'
    : 'Start the file that listens, without node:cluster; "workers" in sluice.json sets the number of processes. Many servers have a setting for one process, such as WEB_CONCURRENCY=1.';
  const message = 'the app starts processes with node:cluster, and Sluice cannot check those processes';
  return failure(worker, 'boot_cluster', message, hint);
}

/** @param fault clause about the last health check: see Health */
export function unhealthy(worker: WorkerHandle, spec: GenerationSpec, fault: string): Promise<AppError> {
  const { path, status } = spec.health;
  const message = `the app ${fault}, and was not healthy within ${formatDuration(spec.bootTimeout)}`;
  const hint = `A healthy app answers GET ${path} with ${status.join(', ')}. To check another path or status, in sluice.json: "health": {"path": "/login"}, or {"status": "100-599"}.`;
  return failure(worker, 'health_failed', message, hint);
}

/** Returns the error for an app that ends after it has listened. */
export function unsettled(worker: WorkerHandle, spec: GenerationSpec, exit: Exit): Promise<AppError> {
  const hint = `A new worker must live for ${formatDuration(spec.settleTime)} ("settleTime") before it gets traffic.`;
  const message = `the app listened, and then ${describeExit(exit)}`;
  return failure(worker, 'settle_exited', message, exit.code === 0 ? endedByItself : hint);
}

/** Returns an error for a release that does not start, with the last lines that the app printed. */
async function failure(
  worker: WorkerHandle,
  code: BootErrorCode,
  message: string,
  hint: string,
): Promise<AppError> {
  if (!worker.alive) await worker.output.end();
  const output = worker.output.everything.lines();
  if (output.length === 0) return new AppError(code, `${message} (it printed nothing)`, { hint });
  const better = code === 'boot_cluster' ? undefined : betterHint(output.join('\n'));
  const printed = output.map((line) => `  | ${line}`).join('\n');
  return new AppError(code, `${message}\n${printed}`, { hint: better ?? hint });
}

/** Hint for an app that ends without an error. */
const endedByItself =
  'The app ended without an error, as if its work was done. Some programs end when their standard input ends, and the input of an app is empty. Many of them have a flag or a variable that prevents this.';

/** Returns a hint for the most common reasons. */
function betterHint(output: string): string | undefined {
  const missing = /Cannot find (?:module|package) '([^']+)'/.exec(output)?.[1];
  if (missing !== undefined) {
    return /^[./]/.test(missing)
      ? `${missing} is not in the release. Check whether .gitignore excludes it, or whether the build must create it.`
      : `${missing} is not installed in the release. Add it to "dependencies" in package.json.`;
  }
  if (output.includes('EADDRINUSE')) {
    return 'The app opens a port that is in use. If the app starts workers itself (node:cluster), use "workers" in sluice.json instead.';
  }
  return undefined;
}

import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatDuration } from '../../system/text/format.ts';
import { describeExit, type Exit } from '../exit.ts';
import type { WorkerHandle } from './worker-handle.ts';

type BootErrorCode = 'boot_exited' | 'boot_timeout' | 'boot_cluster' | 'health_failed' | 'settle_exited';

/** Errors for a release that does not start, with the last lines that the app printed. */
export class StartupFailures {
  readonly #spec: GenerationSpec;

  constructor(spec: GenerationSpec) {
    this.#spec = spec;
  }

  exited(worker: WorkerHandle, exit: Exit): Promise<AppError> {
    return this.#failure(
      worker,
      'boot_exited',
      `the app ${describeExit(exit)} before it listened`,
      exit.code === 0
        ? endedByItself
        : `Read the last lines that the app printed. To set a missing variable: sluice env set ${this.#spec.key} NAME=value`,
    );
  }

  neverListened(worker: WorkerHandle): Promise<AppError> {
    const { bootTimeout, port, waitReady } = this.#spec;
    const within = `within ${formatDuration(bootTimeout)}`;
    if (waitReady) {
      return this.#failure(
        worker,
        'boot_timeout',
        `the app did not call process.send('ready') ${within}`,
        'Send it when the app can answer requests, remove "waitReady" from the settings, or raise "bootTimeout".',
      );
    }
    return this.#failure(
      worker,
      'boot_timeout',
      `no worker listened on port ${port} ${within}`,
      'The app must call listen(process.env.PORT) in its main process. If the app needs longer, raise "bootTimeout".',
    );
  }

  /** Returns the error for an app that uses node:cluster: switches, drains and checks do not reach its child processes. */
  forked(worker: WorkerHandle): Promise<AppError> {
    const isNitro = this.#spec.script.includes('/.output/server/');
    return this.#failure(
      worker,
      'boot_cluster',
      'the app starts processes with node:cluster, and Sluice cannot check those processes',
      isNitro
        ? 'Build with the preset node_server (NITRO_PRESET=node_server); "workers" in sluice.json sets the number of processes.'
        : 'Start the file that listens, without node:cluster; "workers" in sluice.json sets the number of processes. Many servers have a setting for one process, such as WEB_CONCURRENCY=1.',
    );
  }

  /** @param fault clause about the last health check: see Health */
  unhealthy(worker: WorkerHandle, fault: string): Promise<AppError> {
    const { bootTimeout, health } = this.#spec;
    return this.#failure(
      worker,
      'health_failed',
      `the app ${fault}, and was not healthy within ${formatDuration(bootTimeout)}`,
      `A healthy app answers GET ${health.path} with ${health.status.join(', ')}. To check another path or status, in sluice.json: "health": {"path": "/login"}, or {"status": "100-599"}.`,
    );
  }

  unsettled(worker: WorkerHandle, exit: Exit): Promise<AppError> {
    return this.#failure(
      worker,
      'settle_exited',
      `the app listened, and then ${describeExit(exit)}`,
      exit.code === 0
        ? endedByItself
        : `A new worker must live for ${formatDuration(this.#spec.settleTime)} ("settleTime") before it gets traffic.`,
    );
  }

  async #failure(
    worker: WorkerHandle,
    code: BootErrorCode,
    message: string,
    hint: string,
  ): Promise<AppError> {
    if (!worker.alive) await worker.output.end();
    const output = worker.output.everything.lines();
    if (output.length === 0) return new AppError(code, `${message} (it printed nothing)`, { hint });
    if (code !== 'boot_cluster') hint = betterHint(output.join('\n')) ?? hint;
    const printed = output.map((line) => `  | ${line}`).join('\n');
    return new AppError(code, `${message}\n${printed}`, { hint });
  }
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

import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import { formatDuration } from '../../system/text/format.ts';
import { describeExit, type Exit } from '../exit.ts';
import type { WorkerHandle } from './worker-handle.ts';

export interface Gone {
  worker: WorkerHandle;
  exit: Exit;
}

type BootErrorCode = 'boot_exited' | 'boot_timeout' | 'boot_cluster' | 'health_failed' | 'settle_exited';

/** Why a release does not boot, each in its own words, with the last lines that the app printed. */
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
        : `The last lines that the app printed say why. To set a missing variable: sluice env set ${this.#spec.key} NAME=value`,
    );
  }

  neverListened(worker: WorkerHandle): Promise<AppError> {
    const { bootTimeout, port, waitReady } = this.#spec;
    const within = `within ${formatDuration(bootTimeout)}`;
    if (waitReady) {
      return this.#failure(
        worker,
        'boot_timeout',
        `the app did not say process.send('ready') ${within}`,
        'Send it when the app can take requests, or take "waitReady" out of the settings, or raise "bootTimeout".',
      );
    }
    return this.#failure(
      worker,
      'boot_timeout',
      `no worker listened on port ${port} ${within}`,
      'The app must call listen(process.env.PORT) in its main process. If it needs longer, raise "bootTimeout".',
    );
  }

  /** Reports an app that uses node:cluster: its child processes would serve, and our gate, drain and checks do not reach them. */
  forked(worker: WorkerHandle): Promise<AppError> {
    const isNitro = this.#spec.script.includes('/.output/server/');
    return this.#failure(
      worker,
      'boot_cluster',
      'the app starts processes with node:cluster, and those would serve instead of the process that Sluice checks',
      isNitro
        ? 'Build with the preset node_server (NITRO_PRESET=node_server); "workers" in sluice.json says how many processes Sluice starts.'
        : 'Start the file that listens, without node:cluster; "workers" in sluice.json says how many processes Sluice starts. Many servers have a setting for one process, such as WEB_CONCURRENCY=1.',
    );
  }

  /** @param fault what the last health check found wrong, as checkHealth says it */
  unhealthy(worker: WorkerHandle, fault: string): Promise<AppError> {
    const { bootTimeout, health } = this.#spec;
    return this.#failure(
      worker,
      'health_failed',
      `the app ${fault}, and was not healthy within ${formatDuration(bootTimeout)}`,
      `A healthy app answers GET ${health.path} with ${health.status.join(', ')}. To ask for something else, in sluice.json: "health": {"path": "/login"}, or {"status": "100-599"}.`,
    );
  }

  unsettled({ worker, exit }: Gone): Promise<AppError> {
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

/** Hint for an app that ends without an error. Some programs end with their standard input, so as not to outlive their parent. */
const endedByItself =
  'The app ended without an error, as if its work was done. Some programs end when their standard input ends, and the input of an app is empty. Many of them have a flag or a variable that prevents this.';

/** What to do about the reasons that are met most. */
function betterHint(output: string): string | undefined {
  const missing = /Cannot find (?:module|package) '([^']+)'/.exec(output)?.[1];
  if (missing !== undefined) {
    return /^[./]/.test(missing)
      ? `${missing} is not in the release: see whether .gitignore keeps it from being sent, or whether it is to be built.`
      : `${missing} is not installed in the release: it must be among "dependencies" of package.json, not only on your machine.`;
  }
  if (output.includes('EADDRINUSE')) {
    return 'The app opens a port that is taken. One that starts workers of its own (node:cluster) must leave that to Sluice: "workers" says how many.';
  }
  return undefined;
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { AppLogs } from '../logs/app-logs.ts';
import type { BackgroundStatus, CronStatus, GenerationSpec, Liveness } from '../protocol/runner.ts';
import { describeError } from '../system/log/log.ts';
import type { Allowance } from './allowance.ts';
import type { EnvironmentContext } from './app-process.ts';
import { BackgroundProcesses } from './background/background.ts';
import { waitUntilHealthy } from './background/startup-check.ts';
import type { Cgroups } from './cgroups/cgroups.ts';
import type { Generation } from './generation/generation.ts';
import { waitForHealthCommand } from './health-command.ts';
import { Schedule } from './schedule/schedule.ts';
import { endOrphans } from './takeover/end-orphans.ts';
import type { Orphans } from './takeover/orphans.ts';

/** Time for background processes to end when their app stops, in ms: those of an earlier runner have no limit on record. */
const killTimeout = 5000;
const byCron = 'is due for "cronRestart"';
/** Pause before schedules that could not be replaced are tried again, in ms. */
const retryPause = 250;

/** Parts of the runner that the supervisor of an environment uses. */
export interface SupervisorContext extends EnvironmentContext {
  orphans: Orphans;
  cgroups: Cgroups;
  logs: AppLogs;
}

interface LiveReleaseOptions extends SupervisorContext {
  /** limit of all messages from the app's processes to the runner */
  allowance: Allowance;
  /** returns the path by which a file in the environment's directory is safe to use */
  safePath(path: string): string;
  /** replaces all workers, as "cronRestart" asks for */
  restart(): void;
}

/**
 * Parts of a live release besides its workers: its schedules, its background processes, and its line in the log. Also ends what
 * earlier runners have left of the environment. Follows the switch by its events.
 */
export class LiveRelease {
  readonly #options: LiveReleaseOptions;
  readonly #background: BackgroundProcesses;
  readonly #crons: Schedule;
  /** true once nothing of an earlier runner is left */
  #hasTakenOver = false;
  /** undefined while no release is live */
  #spec: GenerationSpec | undefined;
  /** release whose schedules run, or will run; undefined after `stopSchedules` */
  #scheduled: GenerationSpec | undefined;

  constructor(options: LiveReleaseOptions) {
    this.#options = options;
    this.#background = new BackgroundProcesses(options);
    this.#crons = new Schedule({
      ...options,
      restart: (process) =>
        process === undefined ? options.restart() : this.#background.restart(process, byCron),
    });
  }

  /** Replaces the parts of the former live release by those of a generation that is live now. */
  follow(generation: Generation): void {
    const { spec } = generation;
    this.#spec = spec;
    this.#logInApp(spec, `release ${spec.release} is live`);
    void this.#replaceCrons(generation);
    const replaced =
      spec.workers > 0 ? this.#background.replace(generation) : this.#background.keep(generation);
    const background = replaced.catch((error: unknown) => {
      this.#options.log(`background processes not replaced: ${describeError(error)}`);
    });
    void this.#finishTakeover(background);
  }

  /**
   * Starts the background processes of a generation without workers, and waits until they are healthy and `settleTime` has passed.
   * First ends those of the live release, except those that may overlap: `discard` starts them again.
   * @throws AppError `boot_exited`, `boot_timeout`, `health_failed`, `settle_exited`; the reason of `signal`
   */
  async startOnTrial(
    generation: Generation,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const processes = await this.#background.startOnTrial(generation, report, signal);
    const { spec, group } = generation;
    const checkHealth = (stopped: AbortSignal) =>
      waitForHealthCommand({ ...this.#options, spec, group }, {}, stopped);
    await waitUntilHealthy(processes, spec, checkHealth, signal);
  }

  /** Ends the background processes of a generation without workers that is not live, and starts those of the live release again. */
  discard({ spec }: Generation, live: Generation | undefined): Promise<void> {
    return this.#background.discard(spec, live);
  }

  /** @throws AppError `settle_exited` if a background process of a generation without workers has ended since its check */
  async assertComplete({ spec }: Generation): Promise<void> {
    const failure = await this.#background.failureOf(spec);
    if (failure !== undefined) throw failure;
  }

  /** Returns the background processes of the live release that fail: see BackgroundProcesses. */
  failing(): Promise<BackgroundStatus[]> {
    return this.#background.failing();
  }

  /** Waits for the background processes of the live release: see BackgroundProcesses. */
  replaced(): Promise<void> {
    return this.#background.replaced();
  }

  /** Restarts background processes of the live release: see BackgroundProcesses. @throws AppError `process_not_found` */
  async restartProcess(process: string): Promise<void> {
    const spec = await this.#background.restartSome(process);
    this.#logInApp(spec, `${process} was restarted`);
  }

  /** State of a live release without workers. */
  get liveness(): Liveness {
    return this.#background.liveness;
  }

  /** Ends the schedules and their runs. */
  stopSchedules(): Promise<void> {
    this.#scheduled = undefined;
    return this.#crons.end();
  }

  /** Ends all background processes, and what earlier runners have left. Call it after all workers have retired. */
  async stop(): Promise<void> {
    const spec = this.#spec;
    this.#spec = undefined;
    if (spec !== undefined) this.#logInApp(spec, 'stopped');
    const background = this.#background.end(killTimeout);
    await Promise.all([background, this.#finishTakeover(background)]);
  }

  get isEmpty(): boolean {
    return this.#background.isEmpty;
  }

  /** Number of descriptors of channels to background processes. */
  get descriptors(): number {
    return this.#background.descriptors;
  }

  status(): { background: BackgroundStatus[]; cron: CronStatus[] } {
    return { background: this.#background.status(), cron: this.#crons.status() };
  }

  tick(now: number): void {
    this.#background.tick(now);
  }

  /** Replaces the schedules; again and again if no descriptor is free for a module that this loads. */
  async #replaceCrons({ spec, group }: Generation): Promise<void> {
    this.#scheduled = spec;
    for (let attempt = 1; this.#scheduled === spec; attempt += 1) {
      try {
        return this.#crons.replace(spec, group);
      } catch (error) {
        if (attempt === 1) this.#options.log(`crons are not replaced yet: ${describeError(error)}`);
      }
      await sleep(retryPause, undefined, { ref: false });
    }
  }

  /**
   * Waits until the workers of earlier runners have ended, and then ends their other processes.
   * @param background fulfilled when the background processes of earlier runners have ended
   */
  async #finishTakeover(background: Promise<void>): Promise<void> {
    const { cgroups, key } = this.#options;
    if (this.#hasTakenOver) return;
    const log = (message: string) => {
      this.#options.log(message);
      if (this.#spec !== undefined) this.#logInApp(this.#spec, message);
    };
    try {
      // Its callers handle a failure of `background`.
      await Promise.all([endOrphans({ ...this.#options, log }), background.catch(() => undefined)]);
      await cgroups.endLeftovers(key);
      this.#hasTakenOver = true;
    } catch (error) {
      this.#options.log(`processes of an earlier runner not ended: ${describeError(error)}`);
    }
  }

  /** Adds a line about the whole environment to the app's log. */
  #logInApp({ log, release }: GenerationSpec, text: string): void {
    void this.#options.logs.get(log).report({ release, process: '-' }, text);
  }
}

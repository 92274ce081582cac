import type { EnvironmentId } from '../config/paths.ts';
import type { ErrorBody } from '../errors/app-error.ts';
import type { Release } from '../releases/release.ts';
import type { Log } from '../system/log/log.ts';
import type { DeployEvent, DeployStep, DeployWatcher, StepFailure } from './events.ts';

/**
 * `open`: can be cancelled, and nothing live has changed. `switching`: the result of the switch decides. `failing`: the
 * failure is being recorded. `live` and `failed` are final: an error after the switch does not undo the switch.
 */
type Phase = 'open' | 'switching' | 'live' | 'failing' | 'failed';

/** Event machine of a deploy or a rollback: its phase, its step, and the events that its watcher gets. */
export class Progress {
  readonly #watch: DeployWatcher;
  readonly #log: Log;
  readonly #startedAt = performance.now();
  #phase: Phase = 'open';
  #step: DeployStep | null = null;

  constructor(watch: DeployWatcher, log: Log) {
    this.#watch = watch;
    this.#log = log;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  get isUnderWay(): boolean {
    return this.#phase !== 'live' && this.#phase !== 'failed';
  }

  get durationMs(): number {
    return Math.round(performance.now() - this.#startedAt);
  }

  accept(id: EnvironmentId, release: number): void {
    this.emit({ event: 'accepted', ...id, release });
  }

  /** Begins a step. @throws the reason of `signal` if it is aborted */
  enter(step: DeployStep, signal: AbortSignal): void {
    signal.throwIfAborted();
    if (step === 'switch') this.#phase = 'switching';
    this.#step = step;
    this.emit({ event: 'step', step, at: new Date().toISOString() });
  }

  switched(): void {
    this.#phase = 'live';
  }

  finish(release: Release): void {
    this.emit({ event: 'live', release, tookMs: this.durationMs });
  }

  /**
   * Fails at the current step. Returns false, and does nothing, if the release is live: no error changes that.
   * @param record records the failure, and returns the release if it still exists
   */
  async fail(body: ErrorBody, record: (failure: StepFailure) => Promise<Release | null>): Promise<boolean> {
    if (this.#phase === 'live') return false;
    this.#phase = 'failing';
    const failure = { ...body, step: this.#step };
    const release = await record(failure).finally(() => {
      this.#phase = 'failed';
    });
    this.emit({ event: 'failed', release, error: failure });
    return true;
  }

  /** Passes an event to the watcher. An error of the watcher is logged; the deploy continues. */
  emit(event: DeployEvent): void {
    try {
      this.#watch(event);
    } catch (error) {
      this.#log.error('watcher failed', { event: event.event, error });
    }
  }
}

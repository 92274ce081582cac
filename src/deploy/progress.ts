import type { EnvironmentId } from '../config/paths.ts';
import { errorBody } from '../errors/app-error.ts';
import type { Release } from '../releases/release.ts';
import type { Log } from '../system/log/log.ts';
import type { DeployEvent, DeployStep, DeployWatcher, StepFailure } from './events.ts';

/**
 * `open`: can be cancelled, and nothing live has changed. `switching`: the result of the switch decides. `live` and `failed` are
 * final: an error after the switch does not undo the switch.
 */
type Phase = 'open' | 'switching' | 'live' | 'failed';

/** Event machine of a deploy or a rollback: its phase, its step, and the events that its watcher gets. */
export class Progress {
  /** aborted with an AppError when the deploy or the rollback is cancelled */
  readonly signal: AbortSignal;
  readonly #watch: DeployWatcher;
  readonly #log: Log;
  readonly #startedAt = performance.now();
  #phase: Phase = 'open';
  #step: DeployStep | null = null;

  constructor(watch: DeployWatcher, log: Log, signal: AbortSignal) {
    this.#watch = watch;
    this.#log = log;
    this.signal = signal;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  /** True until the release is live, or until its failure is on record and the deploy has ended. */
  get isUnderWay(): boolean {
    return this.#phase !== 'live';
  }

  /** Milliseconds since the deploy or the rollback was accepted. */
  get durationMs(): number {
    return Math.round(performance.now() - this.#startedAt);
  }

  accept(id: EnvironmentId, release: number): void {
    this.emit({ event: 'accepted', ...id, release });
  }

  /** Begins a step. @throws the reason of the cancellation */
  enter(step: DeployStep): void {
    this.signal.throwIfAborted();
    if (step === 'switch') this.#phase = 'switching';
    this.#step = step;
    this.emit({ event: 'step', step, at: new Date().toISOString() });
  }

  log(line: string): void {
    this.emit({ event: 'log', line });
  }

  /** Notes that the release has the traffic. */
  switched(): void {
    this.#phase = 'live';
  }

  finish(release: Release): void {
    this.emit({ event: 'live', release, tookMs: this.durationMs });
  }

  /** Fails at the current step. Does nothing and returns undefined if the release is live: no error changes that. */
  fail(error: unknown): StepFailure | undefined {
    if (this.#phase === 'live') return undefined;
    this.#phase = 'failed';
    return { ...errorBody(error), step: this.#step };
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

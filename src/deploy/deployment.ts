import { channel } from 'node:diagnostics_channel';
import type { Environment } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import { releaseView } from '../apps/release-view.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import { levelOf } from '../system/log/log.ts';
import { Masker } from '../system/text/mask/masker.ts';
import { BuildLog } from './build-log.ts';
import type { DeployEvent, DeployStep } from './events.ts';
import { maskError } from './mask-error.ts';

/** Tells `{target, release, step}` in the same turn of the event loop, before the step begins. */
const steps = channel('sluice:deploy:step');

/**
 * `open`: it can be cancelled, and nothing live was touched. `committed`: its switch has begun, and what it comes to is
 * for the switch to say. `failing`: why is being written down. `live` and `failed` are for good: what goes wrong after a
 * switch takes nothing back.
 */
type Phase = 'open' | 'committed' | 'live' | 'failing' | 'failed';

/** One deploy under way: its number, the step it is at, and all that must be told about it and to whom. */
export class Deployment {
  readonly environment: Environment;
  readonly number: number;
  /** aborted with the AppError that says why, when it is cancelled */
  readonly signal: AbortSignal;
  readonly notices: Notice[] = [];
  /** when it is over, one way or the other */
  readonly ended: Promise<void>;

  /** where it is received and built */
  readonly tree: string;

  readonly #by: string;
  readonly #startedAt = performance.now();
  readonly #cancellation = new AbortController();
  readonly #watch: (event: DeployEvent) => void;
  readonly #buildLog: BuildLog;
  readonly #settled = Promise.withResolvers<void>();
  #masker = new Masker([]);
  #phase: Phase = 'open';
  #step: DeployStep | null = null;

  constructor(
    environment: Environment,
    { number, source }: ReleaseRecord,
    watch: (event: DeployEvent) => void,
  ) {
    this.environment = environment;
    this.number = number;
    this.signal = this.#cancellation.signal;
    this.ended = this.#settled.promise;
    this.tree = environment.paths.staged(number).directory;
    this.#by = source.by;
    this.#watch = watch;
    this.#buildLog = new BuildLog(environment.paths.staged(number).buildLog, (error) =>
      environment.appliance.log.error('build log lost', { app: environment.name, release: number, error }),
    );
    environment.deploys.add(this);
    this.#tell({ event: 'accepted', ...environment.id, release: number });
  }

  /** Begins a step. @throws the reason, when the deploy has been cancelled */
  enter(step: DeployStep): void {
    steps.publish({ target: this.environment.name, release: this.number, step });
    this.signal.throwIfAborted();
    if (step === 'switch') this.#phase = 'committed';
    this.#step = step;
    this.#buildLog.write(`== ${step}`);
    this.#tell({ event: 'step', step, at: new Date().toISOString() });
  }

  /** From here on these values appear in no line that is logged. */
  hide(secrets: string[]): void {
    this.#masker = new Masker(secrets);
  }

  log(line: string): void {
    const masked = this.#masker.maskText(line);
    this.#buildLog.offer(masked);
    this.#tell({ event: 'log', line: masked });
  }

  notice(notice: Notice): void {
    this.notices.push(notice);
    this.#buildLog.write(`note: ${notice.message}${notice.hint && ` (${notice.hint})`}`);
    this.#tell({ event: 'notice', ...notice });
  }

  /** Milliseconds since it was accepted. */
  get durationMs(): number {
    return Math.round(performance.now() - this.#startedAt);
  }

  get isUnderWay(): boolean {
    return this.#phase !== 'live' && this.#phase !== 'failed';
  }

  /** Its switch is done. */
  switched(): void {
    this.#phase = 'live';
  }

  /** Ends it with `reason`, unless its switch has begun. @returns whether it will end */
  cancel(reason: AppError): boolean {
    if (this.#phase !== 'open') return false;
    this.#cancellation.abort(reason);
    return true;
  }

  /**
   * Does what is left to do for a release that is live: it stays live where that fails, and the failure is logged.
   */
  async afterwards(step: DeployStep, work: () => Promise<void>): Promise<void> {
    this.enter(step);
    try {
      await work();
    } catch (error) {
      const { name, appliance } = this.environment;
      appliance.log[levelOf(error)]('deploy step failed', { app: name, release: this.number, step, error });
      const { message } = errorBody(error);
      this.notice({
        code: `${step}_failed`,
        message: `the release is live, but the step ${step} failed: ${message}`,
        hint: 'The log of the server has the details.',
      });
      await this.#keepNotices();
    }
  }

  /** Those that have come up since they were put on record. */
  async #keepNotices(): Promise<void> {
    try {
      await this.environment.store.update(this.number, { notices: this.notices });
    } catch (error) {
      const about = { app: this.environment.name, release: this.number };
      this.environment.appliance.log.error('notices not on record', { ...about, error });
    }
  }

  async finished(): Promise<Release> {
    const release = await releaseView(this.environment, this.number);
    this.#buildLog.write(`live: ${release.url}`);
    await this.#buildLog.end();
    const { durationMs } = this;
    this.environment.appliance.log.info('deployed', {
      app: this.environment.name,
      release: this.number,
      durationMs,
    });
    await writeHistory(this.environment.appliance, this.environment.id, {
      ...this.#asHistory,
      outcome: 'done',
    });
    this.#tell({ event: 'live', release, tookMs: durationMs });
    return release;
  }

  /** @returns what to throw: the reason where it was cancelled, else what was caught, with secrets masked */
  async failed(caught: unknown): Promise<unknown> {
    const { appliance, id, name, store } = this.environment;
    if (this.#phase === 'live') return caught;
    this.#phase = 'failing';
    const error = maskError(this.signal.aborted ? this.signal.reason : caught, this.#masker);
    const failure = { ...errorBody(error), step: this.#step };
    const about = { app: name, release: this.number, ...failure };
    appliance.log[levelOf(error)]('deploy failed', error instanceof AppError ? about : { ...about, error });
    this.#buildLog.write(`failed: ${failure.message}`);
    await this.#buildLog.end();
    let release: Release | null = null;
    try {
      await store.fail(this.number, { ...failure, step: this.#step ?? 'receive' }).finally(() => {
        this.#phase = 'failed';
      });
      // An unused app is removed, and the release with it: nobody can ask for the release later.
      if (!(await this.environment.isUnused())) release = await releaseView(this.environment, this.number);
    } catch (failing) {
      appliance.log.error('failure not on record', { ...about, error: failing });
    }
    const { code } = failure;
    await writeHistory(appliance, id, { ...this.#asHistory, outcome: 'failed', code });
    this.#tell({ event: 'failed', release, error: failure });
    return error;
  }

  /** To be called at the very end, whatever happened. */
  end(): void {
    this.environment.deploys.remove(this.number);
    this.#settled.resolve();
  }

  get #asHistory() {
    return { action: 'deploy', by: this.#by, release: this.number };
  }

  /** Whoever watches must not be able to break a deploy: a fault there is logged, and the deploy goes on. */
  #tell(event: DeployEvent): void {
    try {
      this.#watch(event);
    } catch (error) {
      this.environment.appliance.log.error('watcher failed', { event: event.event, error });
    }
  }
}

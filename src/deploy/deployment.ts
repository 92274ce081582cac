import { channel } from 'node:diagnostics_channel';
import { isDeepStrictEqual } from 'node:util';
import type { QueuedDeploy } from '../apps/deploy-queue.ts';
import type { Environment } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import { releaseView } from '../apps/release-view.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { Notice } from '../protocol/runner.ts';
import type { Release, ReleaseRecord } from '../releases/release.ts';
import { levelOf } from '../system/log/log.ts';
import { Masker, maskError } from '../system/text/mask/masker.ts';
import { BuildLog } from './build-log.ts';
import type { DeployStep, DeployWatcher, StepFailure } from './events.ts';
import { Progress } from './progress.ts';
import { aboutRelease } from './release-environment.ts';

/** Publishes `{app, release, step}` synchronously before a step begins. */
const steps = channel('sluice:deploy:step');

/** One deploy under way: its number, its progress, and where its lines, notices and outcome are recorded. */
export class Deployment extends Progress implements QueuedDeploy {
  readonly environment: Environment;
  readonly number: number;
  readonly notices: Notice[] = [];
  /** resolves after `end` */
  readonly ended: Promise<void>;
  /** directory of the release until the step `publish`: first where it is received, then where it is built */
  tree: string;
  /** variables that describe the release */
  readonly about: Record<string, string>;

  readonly #by: string;
  readonly #cancellation: AbortController;
  readonly #buildLog: BuildLog;
  readonly #end = Promise.withResolvers<void>();
  readonly #secrets = new Set<string>();
  #masker = new Masker([]);

  constructor(environment: Environment, { number, source }: ReleaseRecord, watch: DeployWatcher) {
    const { log } = environment.appliance;
    const { directory, buildLog } = environment.paths.staged(number);
    const cancellation = new AbortController();
    super(watch, log, cancellation.signal);
    this.environment = environment;
    this.number = number;
    this.ended = this.#end.promise;
    this.tree = directory;
    this.about = aboutRelease(environment.id, { number, source });
    this.#by = source.by;
    this.#cancellation = cancellation;
    this.#buildLog = new BuildLog(buildLog, (error) =>
      log.error('build log lost', { ...this.#subject, error }),
    );
    environment.deploys.set(this.number, this);
    this.accept(environment.id, number);
  }

  override enter(step: DeployStep): void {
    steps.publish({ ...this.#subject, step });
    super.enter(step);
    this.#buildLog.write(`== ${step}`);
  }

  /** Masks these values, too, in all lines that are logged from now on, and in the error. */
  hide(secrets: string[]): void {
    const known = this.#secrets.size;
    for (const secret of secrets) this.#secrets.add(secret);
    if (this.#secrets.size > known) this.#masker = new Masker(this.#secrets);
  }

  override log(line: string): void {
    const masked = this.#masker.maskText(line);
    this.#buildLog.offer(masked);
    super.log(masked);
  }

  /** Reports a notice once, without secrets, because the plan and the build may find the same notice. */
  notice({ code, ...written }: Notice): void {
    const mask = (text: string) => this.#masker.maskText(text);
    const notice = { code, message: mask(written.message), hint: mask(written.hint) };
    if (this.notices.some((known) => isDeepStrictEqual(known, notice))) return;
    this.notices.push(notice);
    this.#buildLog.write(`note: ${notice.message}${notice.hint && ` (${notice.hint})`}`);
    this.emit({ event: 'notice', ...notice });
  }

  /** Moves the release to where all releases of its environment are built. */
  async moveToBuild(): Promise<void> {
    this.tree = (await this.environment.store.startBuild(this.number)).directory;
  }

  /** Cancels the deploy, unless its switch has begun. Returns true if the deploy will end. */
  cancel(reason: AppError): boolean {
    if (!this.isOpen) return false;
    this.#cancellation.abort(reason);
    return true;
  }

  /** Runs a step after the switch. If the step fails, the release stays live and the failure is logged. */
  async afterwards(step: DeployStep, work: () => Promise<void>): Promise<void> {
    this.enter(step);
    try {
      await work();
    } catch (error) {
      const { log } = this.environment.appliance;
      log[levelOf(error)]('deploy step failed', { ...this.#subject, step, error });
      await this.lateNotice({
        code: `${step}_failed`,
        message: `the release is live, but the step ${step} failed: ${errorBody(error).message}`,
        hint: 'The log of the server has the details.',
      });
    }
  }

  /** Reports a notice after the step `record`, and adds it to the record. */
  async lateNotice(notice: Notice): Promise<void> {
    this.notice(notice);
    const { store, appliance } = this.environment;
    await store.update(this.number, { notices: this.notices }).catch((cause: unknown) => {
      appliance.log.error('notices not on record', { ...this.#subject, error: cause });
    });
  }

  async finished(): Promise<Release> {
    const { appliance, id } = this.environment;
    const release = await releaseView(this.environment, this.number);
    this.#buildLog.write(`live: ${release.url ?? 'without a port'}`);
    await this.#buildLog.end();
    appliance.log.info('deployed', { ...this.#subject, durationMs: this.durationMs });
    await writeHistory(appliance, { ...id, ...this.#historyEntry, outcome: 'done' });
    this.finish(release);
    return release;
  }

  /** Records the failure. Returns the error to throw: the reason of the cancellation or `caught`, without secrets. */
  async failed(caught: unknown): Promise<unknown> {
    const error = maskError(this.signal.aborted ? this.signal.reason : caught, this.#masker);
    const failure = this.fail(error);
    if (failure === undefined) return maskError(caught, this.#masker);
    const { appliance, id } = this.environment;
    const details = { ...this.#subject, ...failure };
    const fields = error instanceof AppError ? details : { ...details, error };
    appliance.log[levelOf(error)]('deploy failed', fields);
    this.#buildLog.write(`failed: ${failure.message}`);
    await this.#buildLog.end();
    const release = await this.#recordFailure(failure).catch((cause: unknown) => {
      appliance.log.error('failure not on record', { ...details, error: cause });
      return null;
    });
    await writeHistory(appliance, { ...id, ...this.#historyEntry, outcome: 'failed', code: failure.code });
    this.emit({ event: 'failed', release, error: failure });
    return error;
  }

  /** Returns the failed release; null if its app is unused. */
  async #recordFailure(failure: StepFailure): Promise<Release | null> {
    await this.environment.store.fail(this.number, { ...failure, step: failure.step ?? 'receive' });
    // An unused app is removed together with the release.
    return (await this.environment.isUnused()) ? null : releaseView(this.environment, this.number);
  }

  /** Ends the deploy on every path. */
  end(): void {
    this.environment.deploys.delete(this.number);
    this.#end.resolve();
  }

  get #subject() {
    return { app: this.environment.name, release: this.number };
  }

  get #historyEntry() {
    return { action: 'deploy', by: this.#by, release: this.number };
  }
}

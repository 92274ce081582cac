import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors/app-error.ts';
import type { BackgroundSpec, BackgroundStatus, GenerationSpec, Liveness } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { Lock } from '../../system/concurrency/slots.ts';
import { processStartTime } from '../../system/process/processes.ts';
import type { Allowance } from '../allowance.ts';
import type { EnvironmentContext } from '../app-process.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { endProcess } from '../exit.ts';
import type { Generation } from '../generation/generation.ts';
import type { ProcessRecord } from '../takeover/process-records.ts';
import { BackgroundProcess } from './background-process.ts';
import * as failures from './startup-failure.ts';

/** Limit of the time that a deploy watches a process from its start, in ms. */
const watchedFor = 3000;
/** Longest wait of a deploy for the end of old processes, in ms: meanwhile the new ones have not started. */
const startedWithin = 5000;
/** Longest wait for processes that replace others, in ms: an old one may take any time to end. */
const replacedWithin = 10_000;

/** Time until a process that has ended on trial must have described its failure, in ms: meanwhile the traffic waits. */
const describedWithin = 10_000;

interface Options extends EnvironmentContext {
  /** limit of all messages from the app's processes to the runner */
  allowance: Allowance;
}

type Live = Pick<Generation, 'spec' | 'group'>;

/** Returns true for the processes to start. */
type Selection = (background: BackgroundSpec, instance: number) => boolean;

/**
 * Background processes of one environment: those of the live release, those of former releases that have not ended, and those on
 * trial, of a release without workers that is not live yet.
 */
export class BackgroundProcesses {
  readonly #options: Options;
  readonly #turns = new Lock();
  readonly #processes = new Set<BackgroundProcess>();
  /** live release of the latest call: an earlier call that waits has nothing left to do */
  #live: Live | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Replaces all processes by those of a release, except those that it keeps. */
  replace({ spec, group }: Live): Promise<void> {
    this.#live = { spec, group };
    const release = group.retain();
    const done = this.#turns.run(async () => {
      if (this.#latest !== spec) return;
      const kept = this.#keepSame(spec);
      const former = [...this.#processes].filter((process) => !kept.has(process.name));
      await this.#swap(former, spec, group, ({ name }, instance) => !kept.has(`${name}.${instance}`));
    });
    return done.finally(release);
  }

  /**
   * Restarts some processes of the live release, as a switch does. Waits until the new ones are ready or have ended, `bootTimeout` at
   * most.
   * @param process name such as `mail`, for all its instances, or `mail.0`
   * @returns the release
   * @throws AppError `process_not_found`
   */
  async restartSome(process: string): Promise<GenerationSpec> {
    const isMeant = (name: string, instance: number) => [name, `${name}.${instance}`].includes(process);
    const meantOf = (spec: GenerationSpec) =>
      this.#of(spec).filter(({ kind, instance }) => isMeant(kind, instance));
    const { spec, started } = await this.#turns.run(async () => {
      const live = this.#live;
      if (live === undefined) throw notRunning(this.#options.key);
      const { spec, group } = live;
      if (!namesOf(spec).includes(process)) throw processNotFound(spec, process);
      // A switch that waits for its turn keeps these processes, and replaces the others.
      this.#keepSame(spec);
      const former = meantOf(spec);
      if (former.length === 0) return { spec };
      return { spec, started: await this.#swap(former, spec, group, ({ name }, at) => isMeant(name, at)) };
    });
    const processes = started ?? this.#turns.run(async () => meantOf(spec));
    await withDeadline(Promise.resolve(processes).then(untilReady), spec.bootTimeout);
    return spec;
  }

  /** Waits until the processes of the live release have replaced those before, and are ready or have ended; 10 s at most. */
  async replaced(): Promise<void> {
    const spec = this.#latest;
    if (spec === undefined) return;
    const started = this.#turns.run(async () => this.#of(spec));
    await withDeadline(started.then(untilReady), replacedWithin);
  }

  /**
   * Starts the processes of a release on trial. First ends all other processes that may not run beside them. Those that have ended for
   * good stay, so that `discard` does not run them again.
   * @returns the processes
   * @throws the reason of `signal`
   */
  startOnTrial(
    { spec, group }: Live,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<BackgroundProcess[]> {
    return this.#turns.run(async () => {
      signal.throwIfAborted();
      const former = [...this.#processes].filter((process) => !process.mayRunBeside(spec));
      const running = former.filter(({ isOver }) => !isOver);
      for (const [release, processes] of Map.groupBy(running, (process) => process.spec.release))
        report(
          `the processes of release ${release} end first: ${processes.map(({ name }) => name).join(', ')}`,
        );
      await this.#end(former, spec.killTimeout);
      for (const process of former) if (process.isOver) this.#processes.add(process);
      signal.throwIfAborted();
      this.#start(spec, group, () => true, { isOnTrial: true });
      return this.#of(spec);
    });
  }

  /**
   * Ends the processes of a release on trial, and starts those of the live release again.
   * @param live undefined if no release is live
   */
  discard(spec: GenerationSpec, live: Live | undefined): Promise<void> {
    return this.#turns.run(async () => {
      await this.#endProcesses(this.#of(spec));
      if (live === undefined || this.#latest !== live.spec) return;
      const names = new Set(this.#of(live.spec).map(({ name }) => name));
      this.#start(live.spec, live.group, ({ name }, instance) => !names.has(`${name}.${instance}`));
    });
  }

  /** Makes the processes of a release on trial those of the live release, and ends all others. */
  keep({ spec, group }: Live): Promise<void> {
    this.#live = { spec, group };
    for (const process of this.#of(spec)) process.confirm();
    return this.#turns.run(() =>
      this.#endProcesses([...this.#processes].filter((process) => process.spec !== spec)),
    );
  }

  /** Returns the error for a process of a release on trial that has ended and should run; undefined if there is none. */
  async failureOf(spec: GenerationSpec): Promise<AppError | undefined> {
    const ended = this.#of(spec).find(({ isFine }) => !isFine);
    if (ended === undefined) return undefined;
    const failed = await withDeadline(ended.failed, describedWithin);
    return failed.timedOut ? failures.endedUnexplained(ended.name) : await failed.value();
  }

  /**
   * Waits until the processes of the live release have started, 5 s at most. Then waits until each of them has ended once, or has
   * run for `settleTime`, 3 s at most.
   * @returns those that fail
   */
  async failing(): Promise<BackgroundStatus[]> {
    const spec = this.#latest;
    if (spec === undefined || spec.background.length === 0) return [];
    const started = await withDeadline(
      this.#turns.run(async () => this.#of(spec)),
      startedWithin,
    );
    if (started.timedOut) return [];
    const watched = Math.min(spec.settleTime, watchedFor);
    const watch = (process: BackgroundProcess) =>
      withDeadline(process.hasRun, Math.max(0, watched - process.upFor()));
    await Promise.all(started.value.map(watch));
    return this.#of(spec).flatMap((process) => (process.isFailing ? [process.status()] : []));
  }

  end(killTimeout: number): Promise<void> {
    this.#live = undefined;
    return this.#turns.run(() => this.#end([...this.#processes], killTimeout));
  }

  get #latest(): GenerationSpec | undefined {
    return this.#live?.spec;
  }

  get isEmpty(): boolean {
    return this.#processes.size === 0;
  }

  /** Number of descriptors of channels that the runner has open. */
  get descriptors(): number {
    return [...this.#processes].reduce((sum, { descriptors }) => sum + descriptors, 0);
  }

  tick(now: number): void {
    for (const process of this.#processes) process.tick(now);
  }

  /** State of the live release, if it has no workers. */
  get liveness(): Liveness {
    const processes = [...this.#processes].filter(({ spec }) => spec === this.#latest);
    if (processes.some(({ isUp }) => isUp)) return 'running';
    const states = new Set(processes.map((process) => process.status().state));
    if (states.has('crashed')) return 'crashed';
    return states.size === 1 && states.has('stopped') ? 'stopped' : 'starting';
  }

  /** Restarts all processes with a name in their place, also those that have ended for good. */
  restart(name: string, why: string): void {
    for (const process of this.#processes) if (process.kind === name) process.restart(why);
  }

  status(): BackgroundStatus[] {
    return [...this.#processes].map((process) => process.status());
  }

  /** Lets processes continue that a release keeps. Returns their names, such as `mail.0`. */
  #keepSame(spec: GenerationSpec): Set<string> {
    const kept = [...this.#processes].filter((process) => spec.keepsBackground && process.isSameIn(spec));
    for (const process of kept) process.spec = spec;
    return new Set(kept.map(({ name }) => name));
  }

  /**
   * Ends processes, and starts those of the live release that `selected` chooses: those with `overlap` at once, the others when the
   * former have ended.
   */
  async #swap(
    former: BackgroundProcess[],
    spec: GenerationSpec,
    group: Cgroup,
    selected: Selection,
  ): Promise<BackgroundProcess[]> {
    const ended = this.#end(former, spec.killTimeout);
    const before = this.#start(spec, group, (one, instance) => one.overlap && selected(one, instance));
    await ended;
    if (this.#latest !== spec) return before;
    const after = this.#start(spec, group, (one, instance) => !one.overlap && selected(one, instance));
    return [...before, ...after];
  }

  /** Starts the processes of a release that `selected` chooses, and returns them. */
  #start(
    spec: GenerationSpec,
    group: Cgroup,
    selected: Selection,
    { isOnTrial = false } = {},
  ): BackgroundProcess[] {
    const started: BackgroundProcess[] = [];
    for (const background of spec.background) {
      for (let instance = 0; instance < background.count; instance += 1) {
        if (!selected(background, instance)) continue;
        const options = { ...this.#options, spec, background, instance, group, isOnTrial };
        started.push(new BackgroundProcess(options));
      }
    }
    for (const process of started) this.#processes.add(process);
    return started;
  }

  #of(spec: GenerationSpec): BackgroundProcess[] {
    return [...this.#processes].filter((process) => process.spec === spec);
  }

  /** Ends some processes, and those of an earlier runner. */
  async #end(processes: BackgroundProcess[], killTimeout: number): Promise<void> {
    await Promise.all([this.#endProcesses(processes), this.#endEarlier(killTimeout)]);
  }

  async #endProcesses(processes: BackgroundProcess[]): Promise<void> {
    const end = async (process: BackgroundProcess) => {
      await process.end();
      this.#processes.delete(process);
    };
    await Promise.all(processes.map(end));
  }

  /** Ends processes of an earlier runner. They are not children of this runner, so it knows them by their records. */
  async #endEarlier(killTimeout: number): Promise<void> {
    const { records, key, log } = this.#options;
    const find = () => records.ofEarlierRunners('background', key);
    const earlier = await retryOnShortage('the end of background processes of an earlier runner', find, log);
    const end = async (record: ProcessRecord) => {
      const { pid, stopSignal: signal = 'SIGTERM', exec: isShell } = record;
      const killed = await endProcess(pid, { signal, isShell, killTimeout, gone: waitUntilGone(record) });
      if (killed !== undefined) log(`a background process of an earlier runner (pid ${pid}) ${killed}`);
      records.remove(pid);
    };
    await Promise.all(earlier.map(end));
  }
}

async function untilReady(processes: BackgroundProcess[]): Promise<void> {
  await Promise.all(processes.map(({ ready, hasRun }) => Promise.race([ready, hasRun])));
}

/** Returns the names of all processes of a release, such as `mail` and `mail.0`. */
function namesOf({ background }: GenerationSpec): string[] {
  return background.flatMap(({ name, count }) =>
    count === 0 ? [] : [name, ...Array.from({ length: count }, (_, instance) => `${name}.${instance}`)],
  );
}

function notRunning(key: string): AppError {
  const hint = `Start the app: \`sluice start ${key}\`.`;
  return new AppError('process_not_found', `${key} does not run`, { hint });
}

function processNotFound({ key, background }: GenerationSpec, process: string): AppError {
  const names = background.filter(({ count }) => count > 0).map(({ name }) => name);
  return new AppError('process_not_found', `${key} has no background process ${process}`, {
    hint:
      names.length === 0
        ? `To restart the whole app: \`sluice restart ${key}\`.`
        : `Background processes of ${key}: ${names.join(', ')}. To restart the whole app: \`sluice restart ${key}\`.`,
  });
}

async function waitUntilGone({ pid, startTime }: ProcessRecord): Promise<void> {
  const now = () => processStartTime(pid);
  while ((await retryOnShortage('a check of a process', now, () => undefined)) === startTime) await sleep(20);
}

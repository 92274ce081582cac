import { channel } from 'node:diagnostics_channel';
import { basename, dirname, join, relative } from 'node:path';
import { AppError, hasCode } from '../errors/app-error.ts';
import type { AppLogs } from '../logs/app-logs.ts';
import type {
  BootResult,
  EnvironmentStatus,
  GenerationSpec,
  Liveness,
  SwitchResult,
} from '../protocol/runner.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { describeError } from '../system/log/log.ts';
import { isListenedOn } from '../system/net/listeners.ts';
import { needDescriptors } from '../system/process/descriptors.ts';
import { Allowance } from './allowance.ts';
import { AppHandoff } from './app-handoff.ts';
import { BackgroundProcesses } from './background/background.ts';
import type { Cgroups } from './cgroups/cgroups.ts';
import { Commit } from './commit.ts';
import { Generation } from './generation/generation.ts';
import { workerStatus } from './generation/worker-status.ts';
import type { Handoff } from './handoff.ts';
import { prepareLowMemorySwitch } from './low-memory-switch.ts';
import type { Outputs } from './output/outputs.ts';
import { ListeningPort } from './ports/listening-port.ts';
import { portTaken } from './ports/port-taken.ts';
import { Schedule } from './schedule/schedule.ts';
import { endLeftWorkers, type Limits } from './takeover/left-workers.ts';
import type { Orphans } from './takeover/orphans.ts';
import type { ProcessRecords } from './takeover/process-records.ts';
import type { Identity } from './users/identity.ts';

/** What happens in a switch, told as it happens: for whoever wants to measure it, or to break it. */
const switchSteps = channel('sluice:switch:step');

/** Limits for processes of an earlier runner whose own limits are not known, in ms. */
const defaults: Limits = { drainTimeout: 30_000, killTimeout: 5000 };

/**
 * Limits for messages of an app's workers, in bytes at once and per second: more than all workers need, and a hundredth of the
 * rate that would keep the runner busy.
 */
const mayBeSent = { atOnce: 1024 * 1024, perSecond: 128 * 1024 };

interface TargetOptions {
  key: string;
  /** directory of our sockets: see Ground */
  runDirectory: string;
  orphanSocket: string;
  orphans: Orphans;
  records: ProcessRecords;
  cgroups: Cgroups;
  outputs: Outputs;
  logs: AppLogs;
  /** whom it runs as, where there are users */
  user(): Identity | undefined;
  /** see Ground */
  at(directory: string): string;
  log(message: string): void;
}

/** One app in one environment: its port, the generation that has the traffic, and those that come and go. */
export class AppSupervisor {
  readonly key: string;
  readonly #options: TargetOptions;
  readonly #allowance = new Allowance(mayBeSent.atOnce, mayBeSent.perSecond, performance.now());
  readonly #standby = new Map<number, Generation>();
  /** those that are retired, the oldest first, and when they are over */
  readonly #draining = new Map<Generation, Promise<void>>();
  /** what changes which generation has the port, one after the other: a new one, a switch, a stop */
  readonly #turns = new Slots(1);
  #active: Generation | undefined;
  #port: ListeningPort | undefined;
  readonly #handoff: AppHandoff;
  #lastId = 0;
  #logDirectory: string | undefined;
  #state: Liveness = 'starting';
  #since = new Date();
  readonly #background: BackgroundProcesses;
  readonly #crons: Schedule;
  /** takes over the crons of the live release; undefined if that is done, or nothing is live */
  #becomeCrons: (() => void) | undefined;
  #lacksCrons = false;

  constructor(options: TargetOptions) {
    this.key = options.key;
    this.#options = options;
    this.#handoff = new AppHandoff(options.runDirectory, options.log);
    this.#background = new BackgroundProcesses(options);
    this.#crons = new Schedule({
      ...options,
      at: (path) => this.#at(path),
      restart: () => void this.#active?.pool.replaceAll('is restarted, as "cronRestart" says'),
    });
  }

  /** Handoff from which the workers of the active generation take connections; undefined if there is none. */
  get handoff(): Handoff | undefined {
    return this.#active && this.#handoff.current;
  }

  /** Whether there is nothing to be told of it. */
  get isEmpty(): boolean {
    const generations = this.#standby.size + this.#draining.size;
    return this.#active === undefined && generations === 0 && this.#background.isEmpty;
  }

  /** Boots a generation beside the active one, which notices nothing. @throws AppError */
  async startGeneration(
    spec: GenerationSpec,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<BootResult> {
    const generation = await this.#turns.run(() => this.#add(spec, signal));
    try {
      const count = await prepareLowMemorySwitch(this.#active, spec.workers, report, signal);
      const bootMs = await generation.startWorkers(report, signal, count);
      const [worker] = generation.workers;
      return {
        generation: generation.id,
        workers: generation.workers.size,
        bootMs,
        protocol: worker?.protocol ?? 'http',
        notices: generation.notices,
      };
    } catch (error) {
      await this.discard(generation.id);
      throw error;
    }
  }

  async #add(spec: GenerationSpec, signal: AbortSignal): Promise<Generation> {
    signal.throwIfAborted();
    needDescriptors();
    const { orphanSocket, records, cgroups, outputs, user, log } = this.#options;
    this.#logDirectory = spec.log.directory;
    await this.#handoff.open();
    const port = await this.#portFor(spec);
    const id = this.#nextId();
    const generation = new Generation({
      id,
      spec,
      port,
      besideOrphans: this.#active === undefined && port.beside,
      orphanSocket,
      records,
      group: cgroups.generation(spec.key, id, spec.limits),
      outputs,
      user,
      handoff: () => this.#handoffForNew(),
      allowance: this.#allowance,
      exited: (_worker, { signal }) => {
        if (signal === 'SIGABRT') this.#handoff.suspect();
        this.#look();
      },
      log,
    });
    this.#standby.set(generation.id, generation);
    return generation;
  }

  /**
   * Moves the traffic to a booted generation. From the answer on no request is taken by another.
   * @throws AppError `switch_failed`; the old generation then has the traffic as before
   */
  switch(id: number): Promise<SwitchResult> {
    return this.#turns.run(() => this.#switch(id));
  }

  async #switch(id: number): Promise<SwitchResult> {
    const old = this.#active;
    const { next, commit, start, late, unlinked } = await this.#commit(id, old).catch(
      async (error: unknown) => {
        await this.discard(id);
        throw error;
      },
    );
    const { spec } = next;
    this.#tell('open', id);
    this.#standby.delete(id);
    this.#active = next;
    // Orphans hold a socket of their own beside ours. No process would listen between the end of their socket and our opening,
    // so the new workers open before the orphans retire, and their connections wait until then.
    const wait = this.#options.orphans.serving(this.key);
    await next.open({ wait });
    old?.relieve();
    this.#look();
    const pauseMs = performance.now() - start;
    if (wait) this.#tell('wait', id);
    await this.#options.orphans.retire(this.key, this.#handoff.current);
    if (wait) next.pool.serve();
    this.#tell('opened', id);

    for (const worker of late) {
      this.#options.log(
        `worker ${worker.instance} (pid ${worker.pid}) did not retire in time: its event loop stands still`,
      );
    }
    if (unlinked !== undefined)
      this.#options.log(`${spec.paths.current} was not replaced: ${(unlinked as Error).message}`);
    const drained = old && this.#drain(old, spec.maxDraining);
    void Promise.resolve(drained).then(() => next.pool.complete());
    this.#say(spec, `release ${spec.release} is live`);
    this.#becomeCrons = () => this.#crons.replace(spec, next.group);
    this.#tryCrons();
    const background = this.#background.replace(spec, next.group).catch((error: unknown) => {
      this.#options.log(`background processes not replaced: ${describeError(error)}`);
    });
    void this.#endLeft(spec, background);
    // The switch is made. An error of the disk does not undo it.
    await commit.sync().catch((error: unknown) => {
      this.#options.log(`the switch may not outlive a power cut: ${describeError(error)}`);
    });
    return { generation: id, pauseMs };
  }

  /**
   * Shuts the gates of the old generation, and commits the new generation as the active one.
   * @returns the time at which the gates began to shut, the old workers that did not confirm, and the result of Commit.apply
   * @throws AppError; nothing has changed then, and the gates are open again
   */
  async #commit(id: number, old: Generation | undefined) {
    const next = this.#standby.get(id);
    if (!next?.pool.isComplete) {
      throw new AppError('switch_failed', 'a worker of the new release died before the switch', {
        hint: 'The release that was live still is. Its output is in "sluice logs"; deploy again.',
      });
    }
    const commit = await this.#prepare(next);
    try {
      if (old === undefined) await this.#gatherOrphans();
      const start = performance.now();
      this.#tell('retire', id);
      const late = (await old?.retire()) ?? [];
      this.#tell('commit', id);
      const unlinked = await this.#apply(commit, old);
      return { next, commit, start, late, unlinked };
    } catch (error) {
      commit.discard();
      throw error;
    }
  }

  async #apply(commit: Commit, old: Generation | undefined): Promise<unknown> {
    try {
      return commit.apply();
    } catch (error) {
      await old?.open();
      throw notWritten(error);
    }
  }

  /** Waits until the orphans of an earlier runner can be retired. */
  async #gatherOrphans(): Promise<void> {
    const ours = () => new Set(this.status().workers.map(({ pid }) => pid));
    await this.#options.orphans.gather(this.key, ours);
  }

  async #prepare({ id, spec }: Generation): Promise<Commit> {
    try {
      const { paths, release, directory } = spec;
      const { current, generation } = paths;
      const safe = { current: this.#at(current), generation: this.#at(generation) };
      await Commit.sweep(safe.generation);
      return new Commit(
        safe,
        { generation: id, release, handoff: this.#handoff.current?.id ?? '' },
        relative(dirname(current), directory),
      );
    } catch (error) {
      throw notWritten(error);
    }
  }

  /** Ends a generation that never had traffic. */
  async discard(id: number): Promise<void> {
    const generation = this.#standby.get(id);
    this.#standby.delete(id);
    await generation?.kill();
    // Where it had made room.
    this.#active?.pool.complete();
    this.#releasePort();
  }

  /** Ends everything, what is in flight first; then nobody listens on the port. */
  async stop(): Promise<void> {
    this.#becomeCrons = undefined;
    const crons = this.#crons.end();
    const { ended } = await this.#turns.run(() => this.#retireAll());
    await Promise.all([ended, crons]);
    if (this.isEmpty && this.#logDirectory !== undefined) await this.#options.logs.rest(this.#logDirectory);
  }

  async #retireAll(): Promise<{ ended: Promise<unknown> }> {
    const active = this.#active;
    if (active === undefined) await this.#gatherOrphans();
    this.#active = undefined;
    if (active !== undefined) this.#say(active.spec, 'stopped');
    const standby = [...this.#standby.keys()].map((id) => this.discard(id));
    const draining = [...this.#draining.keys()];
    const retiring = [active, ...draining].map((generation) => generation?.retire({ last: true }));
    await Promise.all([...retiring, ...standby, this.#options.orphans.retire(this.key)]);
    this.#releasePort();
    if (active !== undefined) this.#drain(active, Number.POSITIVE_INFINITY);
    const background = this.#background.end(defaults.killTimeout);
    const left = this.#endLeft(active?.spec ?? defaults, background);
    return { ended: Promise.all([...this.#draining.values(), background, left]) };
  }

  /** Begins nothing any more, and ends only commands that are run at set times. */
  leave(): Promise<void> {
    this.#becomeCrons = undefined;
    return this.#crons.end();
  }

  status(): EnvironmentStatus {
    const active = this.#active;
    const generations = this.#generations();
    return {
      key: this.key,
      descriptors: this.#descriptors(generations),
      active:
        active === undefined
          ? null
          : { generation: active.id, release: active.spec.release, workers: active.spec.workers },
      state: this.#state,
      since: this.#since.toISOString(),
      crash: active?.pool.crash ?? null,
      draining: [...this.#draining.keys()].map((generation) => generation.spec.release),
      workers: generations.flatMap((generation) =>
        [...generation.workers].map((worker) => workerStatus(generation, worker)),
      ),
      background: this.#background.status(),
      cron: this.#crons.status(),
    };
  }

  #generations(): Generation[] {
    const active = this.#active ? [this.#active] : [];
    return [...this.#standby.values(), ...active, ...this.#draining.keys()];
  }

  /** Counts the descriptors of its port, its handoffs, its processes and their output. */
  #descriptors(generations: Generation[]): number {
    const channels = generations.reduce((sum, { workers }) => sum + workers.size, 0);
    const shared = (this.#port === undefined ? 0 : 1) + (this.#handoff.current === undefined ? 0 : 2);
    const directory = this.#logDirectory;
    return shared + channels + (directory === undefined ? 0 : this.#options.outputs.descriptors(directory));
  }

  /**
   * @param now in ms, from a clock that only goes forward
   * @param attended see Ticker
   */
  tick(now: number, attended: number): void {
    this.#active?.tick(now, attended);
    for (const generation of this.#draining.keys()) generation.tick(now, attended);
    this.#background.tick(now);
    this.#tryCrons();
    this.#look();
  }

  /** Takes over the crons of the live release. If no descriptor is free for a module that this loads, the next tick tries again. */
  #tryCrons(): void {
    const become = this.#becomeCrons;
    if (become === undefined) return;
    this.#becomeCrons = undefined;
    try {
      become();
    } catch (error) {
      this.#becomeCrons = become;
      if (!this.#lacksCrons) this.#options.log(`crons are not taken over yet: ${describeError(error)}`);
      this.#lacksCrons = true;
      return;
    }
    this.#lacksCrons = false;
  }

  /** Notes since when it is as it is. */
  #look(): void {
    const state = this.#active?.pool.liveness ?? 'starting';
    if (state === this.#state) return;
    this.#state = state;
    this.#since = new Date();
    if (state === 'crashed' || state === 'stopped') this.#refuse();
  }

  /** Lets clients be refused, because no worker is expected to accept soon. */
  #refuse(): void {
    // Workers that boot have copies of the socket already.
    if (this.#standby.size > 0) return;
    try {
      this.#port?.renew();
    } catch (error) {
      this.#options.log(
        `clients of the app that is down wait instead of being refused: ${describeError(error)}`,
      );
    }
  }

  /** Something that concerns all of it, in the log of the app. */
  #say({ log, release }: GenerationSpec, text: string): void {
    void this.#options.logs.get(log).say({ release, process: '-' }, text);
  }

  /**
   * Fulfilled when the workers of earlier runners have ended.
   * @param background over when the background processes of an earlier runner have ended
   */
  #endLeft(usual: Limits, background: Promise<void>): Promise<void> {
    const ours = new Set(this.status().workers.map(({ pid }) => pid));
    const log = (message: string) => {
      this.#options.log(message);
      const spec = this.#active?.spec;
      if (spec !== undefined) this.#say(spec, message);
    };
    const workers = endLeftWorkers({ ...this.#options, log }, ours, usual);
    const done = Promise.all([workers, background.catch(() => undefined)]);
    // The caller handles a failure of `background`.
    void done
      .then(() => this.#options.cgroups.endLeftovers(this.key))
      .catch((error: unknown) =>
        this.#options.log(`processes of an earlier runner not ended: ${describeError(error)}`),
      );
    return workers.catch(() => undefined);
  }

  /** A file right in the directory of the target. */
  #at(path: string): string {
    return join(this.#options.at(dirname(path)), basename(path));
  }

  #drain(generation: Generation, maxDraining: number): Promise<void> {
    const drained = generation
      .drain()
      .catch((error: unknown) =>
        this.#options.log(`a generation was not drained in order: ${describeError(error)}`),
      )
      .finally(() => this.#draining.delete(generation));
    this.#draining.set(generation, drained);
    const tooMany = [...this.#draining.keys()].slice(0, Math.max(0, this.#draining.size - maxDraining));
    for (const oldest of tooMany) oldest.hurry();
    return drained;
  }

  async #portFor(spec: GenerationSpec): Promise<ListeningPort> {
    const { host, port } = spec;
    if (this.#port?.host === host && this.#port.port === port) return this.#port;
    const workers = await this.#options.records.left('worker', this.key, new Set());
    const beside = workers.length > 0;
    const bound = await bind(spec, beside).catch((error: unknown) => {
      if (error instanceof AppError)
        this.#say(spec, `release ${spec.release} cannot start: ${error.message}. ${error.hint}`);
      throw error;
    });
    // Workers have copies of their own: giving up ours of a former port takes nothing from those that still use it.
    this.#port?.close();
    this.#port = bound;
    return bound;
  }

  /** Returns the handoff for a worker that is started now. */
  async #handoffForNew(): Promise<Handoff | undefined> {
    const former = this.#handoff.current;
    const current = await this.#handoff.forNew((handoff) =>
      this.#generations().some(({ workers }) => [...workers].some((worker) => worker.handoff === handoff)),
    );
    // Workers that give to the former handoff must not wait for ever.
    if (current !== undefined && current !== former && this.#active !== undefined)
      void this.#options.orphans.retire(this.key, current);
    return current;
  }

  /** Nobody would ever accept what waits on a port without a generation. */
  #releasePort(): void {
    if (this.#active !== undefined || this.#standby.size > 0) return;
    this.#port?.close();
    this.#port = undefined;
    this.#handoff.close();
  }

  /** Never the number of an earlier runner's generation, whose workers may still be there. */
  #nextId(): number {
    this.#lastId = Math.max(this.#lastId + 1, Date.now());
    return this.#lastId;
  }

  #tell(step: 'retire' | 'commit' | 'open' | 'wait' | 'opened', generation: number): void {
    switchSteps.publish({ key: this.key, generation, step });
  }
}

/** @throws AppError `port_taken`, which names the process that has the port */
async function bind(spec: GenerationSpec, beside: boolean): Promise<ListeningPort> {
  if (!beside && (await isListenedOn(spec.host, spec.port))) throw await portTaken(spec);
  try {
    return new ListeningPort(spec.host, spec.port, { beside });
  } catch (error) {
    if (error instanceof AppError && hasCode(error.cause, 'EADDRINUSE')) throw await portTaken(spec);
    throw error;
  }
}

function notWritten(error: unknown): AppError {
  return new AppError('switch_failed', `the switch could not be written down: ${(error as Error).message}`, {
    hint: 'See whether the disk is full or read-only; the release that was live still is.',
    cause: error,
  });
}

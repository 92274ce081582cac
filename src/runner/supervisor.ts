import { channel } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import type {
  BackgroundStatus,
  BootResult,
  EnvironmentStatus,
  GenerationSpec,
  Liveness,
  Reverted,
  SwitchResult,
} from '../protocol/runner.ts';
import { firstOf } from '../system/concurrency/deadline.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { describeError } from '../system/log/log.ts';
import { needDescriptors } from '../system/process/descriptors.ts';
import { Allowance } from './allowance.ts';
import { Generation } from './generation/generation.ts';
import { LoadTable } from './generation/load-table.ts';
import type { WorkerContext } from './generation/worker-starter.ts';
import { AppHandoff, type Handoff, Inboxes } from './handoff.ts';
import { LiveRelease, type SupervisorContext } from './live-release.ts';
import { isMemoryShort, prepareLowMemorySwitch } from './low-memory-switch.ts';
import { AppPort } from './ports/app-port.ts';
import { ListeningPort } from './ports/listening-port.ts';
import { hasMemory, keepWarmFor, Standby } from './standby.ts';
import { type SwitchEvent, type SwitchedEnvironment, switchTraffic } from './switch.ts';
import { endOrphans } from './takeover/end-orphans.ts';
import { AutomaticRollback } from './watch/automatic-rollback.ts';
import { mustSample } from './watch/watch.ts';

/** Steps of all switches, as they happen, for tests and measurements: `{key, generation, step}`. */
const switchSteps = channel('sluice:switch:step');

/**
 * Limits for messages of an app's workers, in bytes at once and per second: more than all workers need, and a hundredth of the
 * rate that would keep the runner busy.
 */
const messageLimits = { atOnce: 1024 * 1024, perSecond: 128 * 1024 };

/**
 * Least time after a switch until workers end, in ms. The end of a process takes CPU time, which the new workers need for their
 * first requests.
 */
const stayAfterSwitch = 300;

interface SupervisorOptions extends SupervisorContext {
  /** directory of the runner's sockets: see Host */
  runDirectory: string;
  orphanSocket: string;
  /** ends generations on standby, of any environment: see endStandbys */
  endStandbys(isShort: () => boolean, signal: AbortSignal): Promise<void>;
  /** returns the path by which a directory is safe to use: see Host */
  safeDirectory(directory: string): string;
  spawn?: WorkerContext['spawn'] | undefined;
}

interface SwitchOptions {
  watch?: boolean;
  restart?: boolean;
  reverted?: Reverted;
}

/** Supervisor of one environment: its port, and its generations: starting, active, on standby and draining. */
export class AppSupervisor {
  readonly key: string;
  readonly #options: SupervisorOptions;
  readonly #allowance = new Allowance(messageLimits.atOnce, messageLimits.perSecond, performance.now());
  /** generations that start or have started, and have no traffic yet, by id */
  readonly #upcoming = new Map<number, Generation>();
  /** generation that has the traffic */
  #active: Generation | undefined;
  /** generation that was active before, and can be so again */
  #standby: Standby | undefined;
  /** standby that a rollback has taken, up to its switch */
  #taken: Standby | undefined;
  /** retired generations that end, the oldest first, and the end of each */
  readonly #draining = new Map<Generation, Promise<void>>();
  /** queue of all that changes which generation has the port: a new generation, a switch, a stop */
  readonly #turns = new Lock();
  readonly #port: AppPort;
  readonly #handoff: AppHandoff;
  readonly #liveRelease: LiveRelease;
  readonly #automaticRollback: AutomaticRollback;
  #lastId = 0;
  #logDirectory: string | undefined;
  #liveness: Liveness = 'starting';
  #since = new Date();

  constructor(options: SupervisorOptions) {
    this.key = options.key;
    this.#options = options;
    this.#port = new AppPort(options);
    this.#handoff = new AppHandoff(options.runDirectory, options.log);
    this.#liveRelease = new LiveRelease({
      ...options,
      allowance: this.#allowance,
      safePath: (path) => this.#safePath(path),
      restart: () => void this.#active?.pool.replaceAll('is restarted because of "cronRestart"'),
    });
    this.#automaticRollback = new AutomaticRollback({
      logs: options.logs,
      start: (spec) => this.startGeneration(spec, () => undefined, new AbortController().signal),
      switch: (id, how) => this.switch(id, how),
    });
  }

  /** Handoff from which the workers of the active generation take connections; undefined if no generation is active. */
  get handoff(): Handoff | undefined {
    return this.#active && this.#handoff.current;
  }

  /** Generation that was active before, and can be so again. */
  get standby(): Standby | undefined {
    return this.#standby;
  }

  /** Ends the generation on standby before its time. @param why clause for the log of the app */
  endStandby(why: string): Promise<void> {
    return this.#endStandby({ why });
  }

  /** True if nothing of this environment runs. */
  get isEmpty(): boolean {
    return this.#generations().length === 0 && this.#liveRelease.isEmpty;
  }

  /**
   * Starts a generation, or takes the one on standby if it is the same. The active one keeps the traffic, with fewer workers in a
   * low-memory switch.
   * @throws AppError
   */
  async startGeneration(
    spec: GenerationSpec,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<BootResult> {
    // One turn for both: a `stop` in between would not end this start.
    const { warm, generation } = await this.#turns.run(() => this.#takeOrAdd(spec, report, signal));
    if (warm !== undefined) return warm;
    try {
      if (!this.#mayOverlap(spec)) await this.#endRunning(report, signal);
      if (spec.workers === 0) return await this.#startBackground(generation, report, signal);
      await this.#options.endStandbys(() => isMemoryShort(this.#active) || !hasMemory(), signal);
      signal.throwIfAborted();
      const count = await prepareLowMemorySwitch(this.#active, spec, report, signal);
      return await generation.startWorkers(report, signal, count);
    } catch (error) {
      // It stays in `#upcoming` meanwhile, so that `stop` waits for its end, too.
      await generation.kill();
      await this.discard(generation.id);
      throw error;
    }
  }

  /**
   * Takes the generation on standby if it is the one to start, or else adds one.
   * @returns `warm`: the result of the boot; undefined if the generation must start
   */
  async #takeOrAdd(
    spec: GenerationSpec,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<{ generation: Generation; warm?: BootResult }> {
    const taken = await this.#takeStandby(spec, report);
    if (taken !== undefined) return taken;
    try {
      return { generation: await this.#addGeneration(spec, signal) };
    } catch (error) {
      this.#releasePort();
      throw error;
    }
  }

  /** Returns the generation on standby, and the result of a boot, if that generation is the one to start, and is healthy. */
  async #takeStandby(spec: GenerationSpec, report: (line: string) => void) {
    const standby = this.#standby;
    if (standby === undefined || spec.takesPort || !standby.isFor(spec)) return undefined;
    const start = performance.now();
    const { generation } = standby;
    const isFit = generation.mayReopen && (await generation.isHealthy());
    // It may have ended meanwhile.
    if (this.#standby !== standby) return undefined;
    if (!isFit) {
      void this.#endStandby({ why: 'it does not pass its health check' });
      return undefined;
    }
    this.#standby = undefined;
    standby.leave();
    this.#taken = standby;
    this.#upcoming.set(generation.id, generation);
    report(`release ${spec.release} is on standby, so its workers open again`);
    return { generation, warm: generation.resultOf(performance.now() - start) };
  }

  async #startBackground(
    generation: Generation,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<BootResult> {
    const start = performance.now();
    await this.#liveRelease.startOnTrial(generation, report, signal);
    const bootMs = performance.now() - start;
    return { generation: generation.id, workers: 0, bootMs, protocol: 'http', notices: [] };
  }

  /** Returns true if a generation may start beside the workers that run. A rollback may lead to a release without the setting. */
  #mayOverlap({ overlap }: GenerationSpec): boolean {
    return overlap && this.#active?.spec.overlap !== false;
  }

  /**
   * Ends all workers, because the next generation cannot run beside them. `discard` starts those of the active generation again.
   * @throws the reason of `signal`
   */
  async #endRunning(report: (line: string) => void, signal: AbortSignal): Promise<void> {
    void this.#endStandby();
    const active = this.#active;
    // Orphans of an earlier runner may still drain beside the active generation.
    const others = active === undefined ? this.#endOrphans() : endOrphans(this.#options);
    const ended = Promise.all([active?.pool.vacate(), others, ...this.#draining.values()]);
    if (active !== undefined && active.spec.workers > 0)
      report(`the workers of release ${active.spec.release} end first, and clients wait ("overlap": false)`);
    await firstOf<unknown>([ended], [signal]);
    signal.throwIfAborted();
  }

  /** Retires the workers of earlier runners, and waits until they have ended. */
  async #endOrphans(): Promise<void> {
    const { orphans } = this.#options;
    await orphans.gather(this.key);
    if (orphans.serving(this.key)) await this.#port.current?.listen();
    await orphans.retire(this.key);
    await endOrphans(this.#options);
  }

  async #addGeneration(spec: GenerationSpec, signal: AbortSignal): Promise<Generation> {
    signal.throwIfAborted();
    needDescriptors();
    this.#logDirectory = spec.log.directory;
    await this.#handoff.open();
    const port = spec.takesPort ? ListeningPort.reserve(spec) : await this.#port.bind(spec);
    const { runDirectory, log } = this.#options;
    using made = new DisposableStack();
    const inboxes =
      spec.affinity && spec.workers > 1
        ? made.use(await Inboxes.create(spec.workers, runDirectory, log))
        : undefined;
    const loads = inboxes === undefined ? this.#openLoads(spec, port) : undefined;
    if (loads !== undefined) made.use(loads);
    needDescriptors();
    // Workers of an earlier runner may have an earlier id, so ids never repeat.
    const id = Math.max(this.#lastId + 1, Date.now());
    this.#lastId = id;
    const generation = new Generation({
      ...this.#options,
      id,
      spec,
      port,
      besideOrphans: this.#active === undefined && port.besideOrphans,
      inboxes,
      loads,
      group: this.#options.cgroups.generation(spec.key, id, spec.limits),
      handoff: () => this.#handoffForNextWorker(),
      allowance: this.#allowance,
      exited: ({ handoff }, { signal, code }) => {
        // A shell whose program has aborted ends with this status.
        if (signal === 'SIGABRT' || code === 128 + constants.signals.SIGABRT) handoff.isSuspect = true;
        this.#updateLiveness();
      },
    });
    // The generation closes its inboxes and its load table.
    made.move();
    this.#upcoming.set(id, generation);
    return generation;
  }

  /** Opens the load table of a generation; undefined if only one process accepts, or if the system has no memory for the file. */
  #openLoads({ workers, exec }: GenerationSpec, { renewals }: ListeningPort): LoadTable | undefined {
    if (process.platform !== 'linux' || (workers < 2 && exec === undefined)) return undefined;
    try {
      const { user, log } = this.#options;
      return new LoadTable({ user: user(), log, socket: renewals });
    } catch (error) {
      this.#options.log(`connections may be uneven, without a load table: ${describeError(error)}`);
      return undefined;
    }
  }

  /**
   * Binds the port of a started generation that takes the port of another program: see `ListeningPort.take`.
   * @throws AppError `port_taken`, `switch_failed`; the reason of `signal`
   */
  async takePort(id: number, within: number, waiting: () => void, signal: AbortSignal): Promise<void> {
    const generation = this.#upcoming.get(id);
    if (generation === undefined) throw new AppError('switch_failed', 'the new workers have ended');
    await generation.port.take(within, waiting, signal);
  }

  /**
   * Switches the traffic to a generation that has started: see switchTraffic.
   * @param watch true to compare the generation with the one before: see Watch
   * @param restart true if no other release than that of the generation may be live
   * @param reverted set if the active generation is worse; its release must still be live then
   */
  switch(
    id: number,
    { watch = false, restart = false, reverted }: SwitchOptions = {},
  ): Promise<SwitchResult> {
    return this.#turns.run(async () => {
      const former = this.#active;
      const environment: SwitchedEnvironment = {
        key: this.key,
        active: former,
        reverted,
        orphans: this.#options.orphans,
        handoff: () => this.#handoff.current,
        safePath: (path) => this.#safePath(path),
        letClientsWait: () => this.#port.letClientsWait(),
        activate: (generation) => {
          this.#upcoming.delete(generation.id);
          if (generation === this.#taken?.generation) this.#taken = undefined;
          this.#active = generation;
          this.#port.use(generation.port);
        },
        drain: (generation, maxDraining) => this.#rest(generation, maxDraining, reverted === undefined),
        emit: (event) => this.#onSwitch(event),
      };
      try {
        const next = this.#upcoming.get(id);
        if (next?.spec.workers === 0) await this.#liveRelease.assertComplete(next);
        if (reverted !== undefined && former?.spec.release !== reverted.release)
          throw new AppError('switch_failed', 'another release is live meanwhile');
        if (restart && next !== undefined) assertStillLive(next.spec, former?.spec);
        const result = await switchTraffic(environment, next);
        this.#automaticRollback.end();
        if (watch && former !== undefined && next !== undefined) this.#automaticRollback.begin(next, former);
        return result;
      } catch (error) {
        await this.discard(id);
        throw error;
      }
    });
  }

  /** Waits until the watch over a generation ends, and the return to the one before. A switch under way may begin the watch. */
  async watched(id: number): Promise<void> {
    const watch = await this.#turns.run(async () => this.#automaticRollback.watch);
    if (watch?.generation.id === id) await watch.ended;
  }

  /** Subscriber of switch events. Its errors do not undo the switch. */
  #onSwitch({ step, next, error }: SwitchEvent): void {
    const { log } = this.#options;
    try {
      switchSteps.publish({ key: this.key, generation: next.id, step });
      if (step === 'live') {
        this.#liveRelease.follow(next);
        this.#updateLiveness();
        if (next.spec.workers === 0) this.#refuseClients();
      }
    } catch (fault) {
      log(`the step "${step}" of a switch was not handled: ${describeError(fault)}`);
    }
    if (step === 'unlinked') log(`${next.spec.paths.current} was not replaced: ${(error as Error).message}`);
    if (step === 'unsynced') log(`the switch may not outlive a power cut: ${describeError(error)}`);
  }

  /** Returns the background processes of the live release that fail soon after their start. */
  failing(): Promise<BackgroundStatus[]> {
    return this.#liveRelease.failing();
  }

  /** Waits until the background processes of the live release have replaced those before. */
  replaced(): Promise<void> {
    return this.#liveRelease.replaced();
  }

  /** Restarts background processes by their name: see RunnerCalls. @throws AppError `process_not_found` */
  restartProcess(process: string): Promise<void> {
    return this.#liveRelease.restartProcess(process);
  }

  /** Ends a generation that never had traffic, or puts it back on standby. */
  async discard(id: number): Promise<void> {
    const generation = this.#upcoming.get(id);
    this.#upcoming.delete(id);
    if (generation !== undefined && generation === this.#taken?.generation) return this.#putBack(this.#taken);
    await generation?.kill();
    if (generation?.spec.takesPort && generation.port !== this.#port.current) generation.port.close();
    if (generation?.spec.workers === 0) await this.#liveRelease.discard(generation, this.#active);
    // After a low-memory switch, or without overlap, the active generation gets its workers back.
    this.#active?.pool.fillReserved();
    this.#releasePort();
  }

  /** Puts a generation that was not switched to back on standby, or drains it: it may still answer requests. */
  #putBack({ generation, until }: Standby): void {
    this.#taken = undefined;
    const mayStay = this.#active !== undefined && this.#standby === undefined && generation.mayReopen;
    if (mayStay) this.#standby = new Standby(generation, until);
    else void this.#drain(generation);
    this.#releasePort();
  }

  /** Retires and ends all workers, and gives up the port. Fulfilled when nothing runs any more. */
  async stop(): Promise<void> {
    const schedules = this.#liveRelease.stopSchedules();
    const { ended } = await this.#turns.run(() => this.#retireAll());
    await Promise.all([ended, schedules]);
    if (this.isEmpty && this.#logDirectory !== undefined) await this.#options.logs.close(this.#logDirectory);
  }

  async #retireAll(): Promise<{ ended: Promise<unknown> }> {
    const active = this.#active;
    if (active === undefined) await this.#options.orphans.gather(this.key);
    this.#active = undefined;
    void this.#endStandby();
    this.#automaticRollback.end();
    const discarded = [...this.#upcoming.keys()].map((id) => this.discard(id));
    const serving = [...(active === undefined ? [] : [active]), ...this.#draining.keys()];
    const retired = serving.map((generation) => generation.retire({ last: true }));
    await Promise.all([...retired, ...discarded, this.#options.orphans.retire(this.key)]);
    this.#releasePort();
    if (active !== undefined) void this.#drain(active);
    const others = this.#liveRelease.stop();
    return { ended: Promise.all([...this.#draining.values(), others]) };
  }

  /** Ends only the schedules; everything else continues under the next runner. */
  leave(): Promise<void> {
    return this.#liveRelease.stopSchedules();
  }

  status(): EnvironmentStatus {
    const active = this.#active;
    return {
      key: this.key,
      descriptors: this.#descriptors(),
      active: active
        ? {
            generation: active.id,
            release: active.spec.release,
            workers: active.spec.workers,
            ...(active.spec.exec && { exec: active.spec.exec }),
          }
        : null,
      state: this.#liveness,
      since: this.#since.toISOString(),
      crash: active?.pool.crash ?? null,
      draining: [...this.#draining.keys()].map(({ spec }) => spec.release),
      standby: this.#standby?.status(performance.now()) ?? null,
      returnsTo: this.#automaticRollback.watch?.former.spec.release ?? null,
      workers: this.#generations({ standby: false }).flatMap((generation) => generation.status()),
      ...this.#liveRelease.status(),
    };
  }

  #generations({ standby = true } = {}): Generation[] {
    const active = this.#active ? [this.#active] : [];
    const kept = standby && this.#standby ? [this.#standby.generation] : [];
    return [...this.#upcoming.values(), ...active, ...kept, ...this.#draining.keys()];
  }

  #workers() {
    return this.#generations().flatMap(({ workers }) => [...workers]);
  }

  /** Counts the descriptors of the port, the handoff, the channels, and the output of all processes. */
  #descriptors(): number {
    const shared = (this.#port.current === undefined ? 0 : 1) + (this.#handoff.current === undefined ? 0 : 2);
    const directory = this.#logDirectory;
    const outputs = directory === undefined ? 0 : this.#options.outputs.descriptors(directory);
    const ofWorkers = this.#workers().reduce((sum, { members }) => sum + (members?.size ?? 1), 0);
    const ofGenerations = this.#generations().reduce(
      (sum, { sharedDescriptors }) => sum + sharedDescriptors,
      0,
    );
    return shared + ofGenerations + ofWorkers + this.#liveRelease.descriptors + outputs;
  }

  /** Gives the connection of a process to its exec worker. @returns false if no worker has this secret */
  join(secret: string, pid: number, socket: Socket): boolean {
    const worker = this.#workers().find((each) => each.isOwner(secret));
    void worker?.members?.join(socket, pid);
    return worker !== undefined;
  }

  /**
   * Checks all processes.
   * @param now in ms, from a clock that only goes forward
   * @param attended see tickRegularly
   */
  tick(now: number, attended: number): void {
    this.#active?.tick(now, attended);
    this.#checkWatch(now);
    for (const generation of this.#draining.keys()) generation.tick(now, attended);
    const end = this.#standby?.check(now, attended);
    if (end !== undefined) void this.#endStandby('fault' in end ? { why: end.fault } : {});
    this.#liveRelease.tick(now);
    this.#updateLiveness();
  }

  #checkWatch(now: number): void {
    const isWatched = this.#automaticRollback.watch !== undefined;
    // While a generation starts, the active one is about to be the one before.
    this.#active?.count(isWatched || this.#upcoming.size > 0 || mustSample(now));
    this.#automaticRollback.check(now);
  }

  /** Notes when the liveness changes. */
  #updateLiveness(): void {
    const liveness = this.#currentLiveness;
    if (liveness === this.#liveness) return;
    this.#liveness = liveness;
    this.#since = new Date();
    if (isDown(liveness)) this.#refuseClients();
  }

  get #currentLiveness(): Liveness {
    const active = this.#active;
    const live = active?.spec.workers === 0 ? this.#liveRelease : active?.pool;
    return live?.liveness ?? 'starting';
  }

  /** Lets clients be refused, because no worker is expected to accept soon. */
  #refuseClients(): void {
    // Workers that start have copies of the socket already.
    if (this.#upcoming.size > 0) return;
    // Its workers have copies of the socket, too, and a rollback may need them now.
    if (this.#standby !== undefined) return;
    this.#port.refuseClients();
  }

  /** Returns the safe path of a file in the directory of the environment. */
  #safePath(path: string): string {
    return join(this.#options.safeDirectory(dirname(path)), basename(path));
  }

  /**
   * Keeps a retired generation on standby if a rollback may need it, or else drains it.
   * @param mayReturn false if the generation is reverted
   * @returns fulfilled when its requests are finished
   */
  async #rest(generation: Generation, maxDraining: number, mayReturn: boolean): Promise<void> {
    const hasMoved = generation.port !== this.#active?.port;
    const stay = hasMoved ? 0 : stayAfterSwitch;
    void this.#endStandby({ stay });
    const keepWarm = mayReturn ? keepWarmFor(generation, this.#active) : 0;
    if (keepWarm === 0) {
      const drained = this.#drain(generation, stay);
      // Other programs may need the former port, and its clients are to be refused instead of waiting.
      if (hasMoved) for (const former of this.#draining.keys()) former.leavePort();
      this.#cutDrains(maxDraining);
      return drained;
    }
    const standby = new Standby(generation, performance.now() + keepWarm);
    this.#standby = standby;
    // Its requests in flight count, too.
    this.#cutDrains(maxDraining - 1);
    await standby.rested;
  }

  /**
   * Drains the generation on standby.
   * @param options.why clause for the log of the app, if people do not expect the end
   * @param options.stay see WorkerHandle.drain
   * @returns fulfilled when it has ended
   */
  async #endStandby({ why, stay }: { why?: string; stay?: number } = {}): Promise<void> {
    const standby = this.#standby;
    if (standby === undefined) return;
    this.#standby = undefined;
    standby.leave();
    const { spec } = standby.generation;
    const line = `release ${spec.release} is no longer on standby: ${why}`;
    if (why !== undefined)
      void this.#options.logs.get(spec.log).report({ release: spec.release, process: '-' }, line);
    const drained = this.#drain(standby.generation, stay);
    if (isDown(this.#currentLiveness)) this.#refuseClients();
    await drained;
  }

  /** Cuts the oldest drains short if too many generations drain. */
  #cutDrains(maxDraining: number): void {
    const excess = Math.max(0, this.#draining.size - maxDraining);
    for (const oldest of [...this.#draining.keys()].slice(0, excess)) oldest.hurry();
  }

  /** Drains a retired generation, and ends it. @param stay see WorkerHandle.drain */
  #drain(generation: Generation, stay = 0): Promise<void> {
    const drained = generation.drain(stay).finally(() => this.#draining.delete(generation));
    this.#draining.set(generation, drained);
    return drained;
  }

  /** Closes the port and the handoff if no generation needs them: no worker would accept waiting connections. */
  #releasePort(): void {
    if (this.#active !== undefined || this.#upcoming.size > 0) return;
    this.#port.close();
    this.#handoff.close();
  }

  async #handoffForNextWorker(): Promise<Handoff | undefined> {
    const former = this.#handoff.current;
    const current = await this.#handoff.forNextWorker((handoff) =>
      this.#workers().some((worker) => worker.handoff === handoff),
    );
    // No worker takes from the former handoff, so orphans that give to it need the new one.
    if (current !== undefined && current !== former && this.#active !== undefined)
      void this.#options.orphans.retire(this.key, current);
    return current;
  }
}

/**
 * Asserts that no other release went live while a restart of the live release was under way: only an automatic rollback does so.
 * @throws AppError `switch_failed`
 */
function assertStillLive({ release }: GenerationSpec, live: GenerationSpec | undefined): void {
  if (live === undefined || live.release === release) return;
  throw new AppError('switch_failed', 'its release was reverted meanwhile', {
    hint: `Sluice has returned to release ${live.release}. Run the command again, for that release. To go live with release ${release} all the same, roll back to it.`,
  });
}

/** Returns true if no worker is expected to accept soon. */
function isDown(liveness: Liveness): boolean {
  return liveness === 'crashed' || liveness === 'stopped';
}

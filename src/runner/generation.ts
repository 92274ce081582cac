import { setTimeout as sleep } from 'node:timers/promises';
import { formatDuration } from '../config/units.ts';
import { AppError } from '../errors/app-error.ts';
import type { Crash, GenerationSpec, Liveness, Notice } from '../protocol/runner.ts';
import { withDeadline } from '../system/deadline.ts';
import { firstOf } from '../system/first-of.ts';
import { proveSettled } from './boot-check.ts';
import { BootFailures } from './boot-failure.ts';
import type { Group } from './cgroups/group.ts';
import { describeExit, type Exit, noExit } from './exit.ts';
import type { ListeningPort } from './listening-port.ts';
import type { Outputs } from './outputs.ts';
import type { ProcessRecords } from './process-records.ts';
import { ShortageWatch } from './shortage-watch.ts';
import { Slot } from './slot.ts';
import type { Identity } from './users/identity.ts';
import { excessOf, faultOf } from './worker-fault.ts';
import type { WorkerListener, WorkerProcess } from './worker-process.ts';
import { NotStarted, WorkerStarter } from './worker-starter.ts';

/** A worker whose event loop does not turn for this long does not hold up a switch; in ms. */
const gateDeadline = 1000;
/** How often a process is looked at that has no limit, in ms. */
const lookEvery = 950;
/** Where a worker could not be replaced by a fresh one, the next try is made after this; in ms. */
const renewPause = 10_000;
/** The same where a fresh one is no better; in ms. */
const hopelessPause = 60_000;

interface GenerationOptions {
  id: number;
  spec: GenerationSpec;
  port: ListeningPort;
  orphanSocket: string;
  records: ProcessRecords;
  user(): Identity | undefined;
  /** what holds its processes to their limits */
  group: Group;
  outputs: Outputs;
  /** where connections go that are on the move */
  moves: Pick<WorkerListener, 'connection' | 'held'>;
  /** told of each worker that is gone */
  exited(worker: WorkerProcess): void;
  log(message: string): void;
}

/**
 * The workers that run one release: `booting` until all are healthy, `standby` until the switch, `active` while they
 * have the traffic, `draining` after the next switch, `ended` when none is left.
 */
export class Generation {
  readonly id: number;
  readonly spec: GenerationSpec;
  readonly notices: Notice[] = [];
  state: 'booting' | 'standby' | 'active' | 'draining' | 'ended' = 'booting';
  /** all that live, those too that have given their place to another */
  readonly workers = new Set<WorkerProcess>();
  /** the last death of one that had a place */
  crash: Crash | null = null;
  readonly #options: GenerationOptions;
  readonly #failures: BootFailures;
  readonly #starter: WorkerStarter;
  readonly #slots: Slot[];
  /** those that have lost their place and finish, the oldest first */
  readonly #leaving = new Set<WorkerProcess>();
  /** ends boots and replacements under way */
  readonly #stopping = new AbortController();
  readonly #shortages: ShortageWatch;
  /** gives its group up: what is still in it then is ended */
  readonly #release: () => void;

  constructor(options: GenerationOptions) {
    const { id, spec } = options;
    this.id = id;
    this.spec = spec;
    this.#options = options;
    this.#failures = new BootFailures(spec);
    this.#release = options.group.hold();
    this.#shortages = new ShortageWatch(options.group, options.log, (what) => {
      const [worker] = this.workers;
      if (worker !== undefined) this.#say(worker, what);
    });
    this.#starter = new WorkerStarter({
      ...options,
      generation: id,
      failures: this.#failures,
      notices: this.notices,
      started: (worker) => this.workers.add(worker),
      exited: (worker, exit) => this.#exited(worker, exit),
    });
    this.#slots = Array.from({ length: spec.workers }, (_, instance) => new Slot(instance, spec.restarts));
  }

  /**
   * Starts all workers and proves them healthy. The first one boots alone: two first boots at once, of an app that
   * creates its database, corrupt it.
   * @param count how many of them, where memory is too short for all; the others are started by `complete`
   * @param report told each thing that happens, for the deploy's log
   * @returns milliseconds until the last one was healthy
   * @throws AppError `boot_exited`, `boot_timeout`, `health_failed`, `settle_exited`; no worker is left then
   */
  async boot(
    report: (line: string) => void,
    signal: AbortSignal,
    count = this.#slots.length,
  ): Promise<number> {
    for (const slot of this.#slots.slice(count)) slot.waits = true;
    const aborted = AbortSignal.any([signal, this.#stopping.signal]);
    const start = performance.now();
    try {
      const places = this.#slots.filter(({ waits }) => !waits);
      const [first, ...others] = places;
      if (first !== undefined) await this.#bootInto(first, report, aborted);
      await Promise.all(others.map((slot) => this.#bootInto(slot, report, aborted)));
      const bootMs = performance.now() - start;
      await proveSettled([...this.workers], places.length, this.spec, this.#failures, aborted);
      this.state = 'standby';
      return bootMs;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Whether all workers are there that should be. */
  get isComplete(): boolean {
    return this.#slots.every(({ worker, waits }) => waits || worker !== undefined);
  }

  /** Bytes that its workers take; what they share counts for each. */
  get memoryBytes(): number {
    for (const { figures } of this.workers) figures.look();
    return [...this.workers].reduce((sum, { figures }) => sum + (figures.memoryBytes ?? 0), 0);
  }

  /**
   * Lets so many of its workers finish and end, to make room for another generation. Their places stay empty until
   * `complete`.
   */
  async giveWay(count: number): Promise<void> {
    const places = this.#slots.filter(({ worker, renewing }) => worker?.state === 'open' && !renewing);
    await Promise.all(
      places.slice(0, Math.min(count, places.length - 1)).map(async (slot) => {
        const { worker } = slot;
        slot.waits = true;
        slot.worker = undefined;
        if (worker !== undefined) await this.#letGo(worker);
      }),
    );
  }

  /** Starts workers in the places that were left empty while memory was short. */
  complete(): void {
    for (const slot of this.#slots.filter(({ waits }) => waits)) {
      slot.waits = false;
      void this.#fill(slot);
    }
  }

  get group(): Group {
    return this.#options.group;
  }

  /** How it does as the active one. */
  get liveness(): Liveness {
    const answers = this.#slots.some((slot) => {
      if (slot.worker?.state !== 'open') return false;
      return !slot.restarts.isCrashing || slot.worker.upFor() >= this.spec.restarts.minUptime;
    });
    if (answers) return 'running';
    if (this.#slots.every(({ stopped }) => stopped)) return 'stopped';
    return this.#slots.some(({ restarts }) => restarts.isCrashing) ? 'crashed' : 'starting';
  }

  /** How often the worker in this place was started again. */
  restartsOf({ instance }: WorkerProcess): number {
    return this.#slots[instance]?.restarts.count ?? 0;
  }

  /**
   * Opens all gates, again where a switch has failed. The caller has made this generation the active one on the disk.
   */
  async open(): Promise<void> {
    this.state = 'active';
    const booted = this.#slots.flatMap(({ worker }) =>
      worker && worker.state !== 'booting' ? [worker] : [],
    );
    await Promise.all(booted.map((worker) => withDeadline(worker.open(), gateDeadline)));
    for (const slot of this.#slots) void this.#fill(slot);
  }

  /**
   * Shuts all gates.
   * @param last whether no other generation takes over
   * @returns those that did not confirm in time: their event loop stands still, and requests may yet reach them
   */
  async retire({ last = false } = {}): Promise<WorkerProcess[]> {
    this.state = 'draining';
    const late: WorkerProcess[] = [];
    await Promise.all(
      [...this.workers].map(async (worker) => {
        if (worker.state === 'booting' || worker.state === 'ready') return worker.kill();
        const { timedOut } = await withDeadline(worker.retire(last), gateDeadline);
        if (timedOut) late.push(worker);
      }),
    );
    return late;
  }

  /** Lets a retired generation finish what it has in flight, up to `drainTimeout`, and ends it. */
  async drain(): Promise<void> {
    await Promise.all([...this.workers].map((worker) => this.#drainOne(worker)));
    this.state = 'ended';
    this.#release();
  }

  /** Cuts a drain short. */
  hurry(): void {
    this.#stopping.abort();
  }

  /** Ends all workers at once: for those that never had traffic. */
  async kill(): Promise<void> {
    this.state = 'ended';
    this.#stopping.abort(new AppError('cancelled', 'the generation was ended while it booted'));
    for (const worker of this.workers) worker.kill();
    await Promise.all([...this.workers].map((worker) => worker.exited));
    this.#release();
  }

  /** Workers that connections can be given to. */
  serving(): WorkerProcess[] {
    // One that was told to retire lets go of what it is given; that it has retired is known only later.
    return [...this.workers].filter((worker) => worker.state === 'open' && !worker.isRetiring);
  }

  /** Looks at each worker: what it takes, and whether it must be replaced. Idempotent, and called often. */
  tick(now: number): void {
    // Where no limit is to be kept, once a second is enough for what is shown.
    const leisurely = this.spec.maxMemory === null;
    for (const { figures } of this.workers)
      if (!leisurely || figures.age(now) >= lookEvery) figures.look(now);
    this.#shortages.tick(now);
    if (this.state !== 'active') return;
    for (const slot of this.#slots) {
      const fault = slot.worker && faultOf(slot.worker, this.spec, now);
      if (fault !== undefined && now >= slot.renewNotBefore) void this.#renew(slot, fault);
      if (slot.worker !== undefined) this.#limit(slot.worker);
    }
  }

  /** Whether one of them is on its way to its limit: a leak can be as fast as the requests come. */
  get isNearLimit(): boolean {
    const { maxMemory } = this.spec;
    if (maxMemory === null || this.state !== 'active') return false;
    return [...this.workers].some(({ figures }) => (figures.memoryBytes ?? 0) > maxMemory / 2);
  }

  /** Replaces all workers, one after the other. */
  async renewAll(why: string): Promise<void> {
    for (const slot of this.#slots) if (this.state === 'active') await this.#renew(slot, why);
  }

  /** What grows faster than a fresh one boots is not to take the machine down with it. */
  #limit(worker: WorkerProcess): void {
    const excess = excessOf(worker, this.spec);
    if (excess === undefined || worker.isKilled) return;
    if (excess === 'killed') {
      this.#say(worker, 'takes several times the memory that it may, and is ended at once');
      worker.kill();
    } else if (worker.state === 'open' && !worker.isRetiring) {
      this.#say(worker, 'takes twice the memory that it may, and gets no more requests');
      void worker.retire(false);
    }
  }

  /** Puts a fresh worker into a place before the one that is in it goes: no request is lost. */
  async #renew(slot: Slot, why: string): Promise<void> {
    const old = slot.worker;
    if (old === undefined || slot.renewing) return;
    slot.renewing = true;
    this.#say(old, `${why}, and is replaced`);
    try {
      const fresh = await this.#starter.boot(slot.instance, () => undefined, this.#stopping.signal);
      if (this.state !== 'active') return fresh.kill();
      await withDeadline(fresh.open(), gateDeadline);
      if (!fresh.alive) throw new Error('the fresh one ended as soon as it was opened');
      slot.worker = fresh;
      slot.restarts.count += 1;
      this.#say(fresh, 'has taken its place');
      this.#measure(slot, fresh);
      void this.#letGo(old);
    } catch (error) {
      slot.renewNotBefore = performance.now() + renewPause;
      if (this.state === 'active') this.#say(old, `was not replaced: ${(error as Error).message}`);
    } finally {
      slot.renewing = false;
      void this.#fill(slot);
    }
  }

  /** One that is over its limit as it comes would be replaced again and again. */
  #measure(slot: Slot, fresh: WorkerProcess): void {
    fresh.figures.look();
    if (faultOf(fresh, this.spec, performance.now()) === undefined) return;
    slot.renewNotBefore = performance.now() + hopelessPause;
    this.#say(
      fresh,
      'takes more memory than "maxMemory" allows from its start on: the limit is below what the app needs',
    );
  }

  /**
   * Lets a worker that has lost its place finish. One whose event loop stands still has nothing that could finish. Where
   * too many are at it, the oldest is ended.
   */
  async #letGo(worker: WorkerProcess): Promise<void> {
    this.#leaving.add(worker);
    const tooMany = this.#leaving.size - this.spec.maxDraining * this.spec.workers;
    for (const oldest of [...this.#leaving].slice(0, Math.max(0, tooMany)))
      void oldest.end(this.spec.killTimeout);
    const { timedOut } = await withDeadline(worker.retire(false), gateDeadline);
    if (timedOut) {
      this.#say(worker, 'does not answer, and is ended with what it had in flight');
      worker.kill();
    } else {
      await this.#drainOne(worker);
    }
    this.#leaving.delete(worker);
  }

  async #drainOne(worker: WorkerProcess): Promise<void> {
    const drained = withDeadline(worker.drained, this.spec.drainTimeout);
    await firstOf<unknown>([drained], [this.#stopping.signal]);
    await worker.end(this.spec.killTimeout);
  }

  #exited(worker: WorkerProcess, exit: Exit): void {
    this.workers.delete(worker);
    this.#options.exited(worker);
    this.#failures.gone = worker;
    const slot = this.#slots[worker.instance];
    if (slot?.worker !== worker) return;
    slot.worker = undefined;
    if (this.state === 'active') void this.#lost(slot, worker, exit);
  }

  /** A worker of the active generation has died: another is started, in a moment that depends on how it went so far. */
  async #lost(slot: Slot, worker: WorkerProcess, exit: Exit): Promise<void> {
    const { restarts } = slot;
    const lived = worker.upFor();
    const delay = restarts.died(lived, exit);
    slot.stopped = delay === null;
    slot.delay = delay ?? 0;
    const how = `${describeExit(exit)} ${lived === 0 ? 'before it listened' : `after ${formatDuration(lived)}`}`;
    this.#say(worker, `${how}; ${restarts.next(delay)}`);
    const at = new Date().toISOString();
    const message = `worker ${worker.instance} ${how}`;
    void this.#fill(slot);
    await worker.output.end();
    this.crash = { at, message, output: worker.output.lastWords() };
  }

  /** Starts workers in an empty place of the active generation until one stays; harmless where there is one. */
  async #fill(slot: Slot): Promise<void> {
    if (slot.filling) return;
    slot.filling = true;
    while (this.#isOpenPlace(slot)) {
      try {
        await this.#fillOnce(slot);
      } catch (error) {
        if (this.state !== 'active') break;
        // One that ended by itself has been told of.
        const ended = error instanceof AppError && error.code === 'boot_exited';
        if (!ended) this.#options.log(`worker ${slot.instance} was not started: ${(error as Error).message}`);
        // Without a process there is no death that says when it is tried again.
        if (error instanceof NotStarted) slot.delay = slot.restarts.died(0, noExit) ?? 0;
      }
    }
    slot.filling = false;
  }

  async #fillOnce(slot: Slot): Promise<void> {
    const { signal } = this.#stopping;
    await sleep(slot.delay, undefined, { signal, ref: false });
    if (!this.#isOpenPlace(slot)) return;
    const worker = await this.#bootInto(slot, () => undefined, signal);
    if (this.state === 'active') await worker.open();
    else worker.kill();
  }

  #isOpenPlace({ worker, renewing, stopped, waits }: Slot): boolean {
    return this.state === 'active' && worker === undefined && !renewing && !stopped && !waits;
  }

  #bootInto(slot: Slot, report: (line: string) => void, signal: AbortSignal): Promise<WorkerProcess> {
    return this.#starter.boot(slot.instance, report, signal, (worker) => {
      slot.worker = worker;
    });
  }

  /** Something that the app's owner should find in its log, and we in ours. */
  #say(worker: WorkerProcess, what: string): void {
    worker.output.say(`worker ${worker.instance} (pid ${worker.pid}) ${what}`);
    this.#options.log(`worker ${worker.instance} (pid ${worker.pid}) ${what}`);
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../errors/app-error.ts';
import type { Crash, GenerationSpec, Liveness } from '../../protocol/runner.ts';
import { firstOf, withDeadline } from '../../system/concurrency/deadline.ts';
import { counted, formatDuration } from '../../system/text/format.ts';
import { describeExit, type Exit, noExit } from '../exit.ts';
import { gateDeadline } from './gate-deadline.ts';
import { Slot } from './slot.ts';
import { faultOf, isBeyondHelp } from './worker-fault.ts';
import type { WorkerHandle } from './worker-handle.ts';
import { NotStarted, type WorkerStarter } from './worker-starter.ts';

/** Where a worker could not be replaced by a fresh one, the next try is made after this; in ms. */
const renewPause = 10_000;
/** Pause before the next attempt if the worker in a place has retired by itself and perhaps no worker is open, in ms. */
const refillPause = 1000;
/** The same where a fresh one is no better; in ms. */
const hopelessPause = 60_000;

interface PlacesOptions {
  spec: GenerationSpec;
  starter: WorkerStarter;
  /** ends boots and replacements under way */
  stopping: AbortSignal;
  /** whether the generation has the traffic: then an empty place is filled */
  isActive(): boolean;
  /** something that the app's owner should find in its log, and we in ours */
  say(worker: WorkerHandle, what: string): void;
  log(message: string): void;
}

/**
 * The places of a generation, one a worker: filled by its boot, and kept filled while it is active, by another one for
 * one that has died, and by a fresh one for one that is too fat or stuck.
 */
export class WorkerPool {
  /** the last death of one that had a place */
  crash: Crash | null = null;
  readonly #options: PlacesOptions;
  readonly #spec: GenerationSpec;
  readonly #slots: Slot[];
  /** those that have lost their place and finish, the oldest first */
  readonly #leaving = new Set<WorkerHandle>();

  constructor(options: PlacesOptions) {
    this.#options = options;
    this.#spec = options.spec;
    const { workers, restarts } = options.spec;
    this.#slots = Array.from({ length: workers }, (_, instance) => new Slot(instance, restarts));
  }

  /**
   * Starts workers and proves them healthy, the first one alone: two first boots at once, of an app that creates its
   * database, corrupt it.
   * @param count how many of them; the other places stay empty until `complete`
   * @returns all of them, those too that have ended since they were healthy
   */
  async startWorkers(
    count: number,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<WorkerHandle[]> {
    for (const slot of this.#slots.slice(count)) slot.waits = true;
    const boot = (slot: Slot) => this.#bootInto(slot, report, signal);
    const first = await Promise.all(this.#slots.slice(0, 1).map(boot));
    return [...first, ...(await Promise.all(this.#slots.slice(1, count).map(boot)))];
  }

  /**
   * Opens the gates of the booted workers, and fills empty places.
   * @param wait true if they may not read from connections before `serve`
   */
  async open({ wait = false } = {}): Promise<void> {
    const booted = this.#slots.flatMap(({ worker }) =>
      worker && worker.state !== 'booting' ? [worker] : [],
    );
    await Promise.all(booted.map((worker) => withDeadline(worker.open({ wait }), gateDeadline)));
    for (const slot of this.#slots) void this.#fill(slot);
  }

  /** Lets workers that were opened with `wait` serve. */
  serve(): void {
    for (const { worker } of this.#slots) worker?.post({ type: 'serve' });
  }

  /** Whether all workers are there that should be. */
  get isComplete(): boolean {
    return this.#slots.every(({ worker, waits }) => waits || worker !== undefined);
  }

  /**
   * Lets so many workers finish and end, to make room for another generation. Their places stay empty until
   * `complete`.
   */
  async retireSome(count: number): Promise<void> {
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

  /** How it does as the active one. */
  get liveness(): Liveness {
    const answers = this.#slots.some((slot) => {
      if (slot.worker?.state !== 'open') return false;
      return !slot.restarts.isCrashing || slot.worker.upFor() >= this.#spec.restarts.minUptime;
    });
    if (answers) return 'running';
    if (this.#slots.every(({ stopped }) => stopped)) return 'stopped';
    return this.#slots.some(({ restarts }) => restarts.isCrashing) ? 'crashed' : 'starting';
  }

  /** How often the worker in this place was started again. */
  restartsOf({ instance }: WorkerHandle): number {
    return this.#slots[instance]?.restarts.count ?? 0;
  }

  /** Looks at each worker of the active generation: whether it must be replaced, or stopped at once. */
  tick(now: number): void {
    for (const { worker } of this.#slots) if (worker !== undefined) this.checkWorker(worker, now);
  }

  /** Checks one worker: see `tick`. */
  checkWorker(worker: WorkerHandle, now: number): void {
    const slot = this.#slots[worker.instance];
    if (slot?.worker !== worker) return;
    const fault = faultOf(worker, this.#spec);
    const notBefore = worker.isRetiring ? slot.refillNotBefore : slot.renewNotBefore;
    if (fault !== undefined && now >= notBefore) void this.#renew(slot, fault);
    if (worker.isKilled || !isBeyondHelp(worker, this.#spec)) return;
    this.#options.say(worker, 'takes several times the memory that it may, and is ended at once');
    worker.kill();
  }

  /** Replaces all workers, one after the other. */
  async replaceAll(why: string): Promise<void> {
    for (const slot of this.#slots) if (this.#options.isActive()) await this.#renew(slot, why);
  }

  /** Is told of every worker of the generation that has died. */
  exited(worker: WorkerHandle, exit: Exit): void {
    const slot = this.#slots[worker.instance];
    if (slot?.worker !== worker) return;
    slot.worker = undefined;
    slot.vacated = worker.gone;
    if (this.#options.isActive()) void this.#lost(slot, worker, exit);
  }

  /** Lets a worker that is retired finish what it has in flight, up to `drainTimeout`, and ends it. */
  async drain(worker: WorkerHandle): Promise<void> {
    const { stopping } = this.#options;
    const { drainTimeout, killTimeout } = this.#spec;
    const start = performance.now();
    worker.noteRetired();
    await firstOf<unknown>([withDeadline(worker.drained, drainTimeout)], [stopping]);
    const isCut = worker.alive && worker.state !== 'drained';
    if (isCut)
      await this.#tellCut(
        worker,
        performance.now() - start,
        stopping.aborted ? 'maxDraining' : 'drainTimeout',
      );
    await worker.end(killTimeout);
  }

  /** @param after time that the worker had to finish, in ms */
  async #tellCut(
    worker: WorkerHandle,
    after: number,
    setting: 'drainTimeout' | 'maxDraining',
  ): Promise<void> {
    const inFlight = await worker.inFlight();
    const late = `${formatDuration(after)} after the worker retired ("${setting}")`;
    if (inFlight === undefined) {
      this.#options.say(worker, `is ended with what it had in flight: not finished ${late}`);
      return;
    }
    const { requests, connections, told } = inFlight;
    for (const request of told) this.#options.say(worker, `cuts ${request}: not answered ${late}`);
    if (requests > told.length)
      this.#options.say(
        worker,
        `cuts ${counted(requests - told.length, 'more request')}: not answered ${late}`,
      );
    if (connections > 0)
      this.#options.say(
        worker,
        `cuts ${counted(connections, 'connection')} (WebSocket, HTTP/2 or the like): open ${late}`,
      );
  }

  /** Puts a fresh worker into a place before the one that is in it goes: no request is lost. */
  async #renew(slot: Slot, why: string): Promise<void> {
    const old = slot.worker;
    if (old === undefined || slot.renewing) return;
    slot.renewing = true;
    this.#options.say(old, `${why}, and is replaced`);
    try {
      const fresh = await this.#options.starter.start(slot.instance, () => undefined, this.#options.stopping);
      if (!this.#options.isActive()) return fresh.kill();
      await withDeadline(fresh.open(), gateDeadline);
      if (!fresh.alive) throw new Error('the fresh one ended as soon as it was opened');
      slot.worker = fresh;
      slot.restarts.count += 1;
      this.#options.say(fresh, 'has taken its place');
      this.#measure(slot, fresh);
      void this.#letGo(old);
    } catch (error) {
      slot.renewNotBefore = performance.now() + renewPause;
      slot.refillNotBefore = performance.now() + refillPause;
      if (this.#options.isActive()) {
        this.#options.say(old, `was not replaced: ${(error as Error).message}`);
        await this.#reopen(old);
      }
    } finally {
      slot.renewing = false;
      void this.#fill(slot);
    }
  }

  /** Lets a worker that has retired by itself open again if no other worker can be started. */
  async #reopen(worker: WorkerHandle): Promise<void> {
    if (!worker.alive || !worker.isRetiring) return;
    await withDeadline(worker.open(), gateDeadline);
    this.#options.say(worker, 'takes requests again');
  }

  /** One that is over its limit as it comes would be replaced again and again. */
  #measure(slot: Slot, fresh: WorkerHandle): void {
    fresh.figures.read();
    if (faultOf(fresh, this.#spec) === undefined) return;
    slot.renewNotBefore = performance.now() + hopelessPause;
    this.#options.say(
      fresh,
      'takes more memory than "maxMemory" allows from its start on: the limit is below what the app needs',
    );
  }

  /**
   * Lets a worker that has lost its place finish. One whose event loop stands still has nothing that could finish. Where
   * too many are at it, the oldest is ended.
   */
  async #letGo(worker: WorkerHandle): Promise<void> {
    this.#leaving.add(worker);
    const tooMany = this.#leaving.size - this.#spec.maxDraining * this.#spec.workers;
    for (const oldest of [...this.#leaving].slice(0, Math.max(0, tooMany))) {
      this.#options.say(
        oldest,
        'is ended with its requests in flight, because too many generations are draining ("maxDraining")',
      );
      void oldest.end(this.#spec.killTimeout);
    }
    const retired = worker.retire(false);
    worker.relieve();
    const { timedOut } = await withDeadline(retired, gateDeadline);
    if (timedOut) {
      this.#options.say(worker, 'does not answer, and is ended with what it had in flight');
      worker.kill();
    } else {
      await this.drain(worker);
    }
    this.#leaving.delete(worker);
  }

  /** A worker of the active generation has died: another is started, in a moment that depends on how it went so far. */
  async #lost(slot: Slot, worker: WorkerHandle, exit: Exit): Promise<void> {
    const { restarts } = slot;
    const lived = worker.upFor();
    const delay = restarts.died(lived, exit);
    slot.stopped = delay === null;
    slot.delay = delay ?? 0;
    const how = `${describeExit(exit)} ${lived === 0 ? 'before it listened' : `after ${formatDuration(lived)}`}`;
    const next = restarts.next(delay);
    const at = new Date().toISOString();
    const message = `worker ${worker.instance} ${how}`;
    void this.#fill(slot);
    await worker.output.end();
    this.#options.say(worker, `${how}; ${next}`);
    this.crash = { at, message, output: worker.output.lastLines() };
  }

  /** Starts workers in an empty place of the active generation until one stays; harmless where there is one. */
  async #fill(slot: Slot): Promise<void> {
    if (slot.filling) return;
    slot.filling = true;
    while (this.#isOpenPlace(slot)) {
      try {
        await this.#fillOnce(slot);
      } catch (error) {
        if (!this.#options.isActive()) break;
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
    const { stopping: signal } = this.#options;
    await sleep(slot.delay, undefined, { signal, ref: false });
    // Children of the worker before may hold ports and files that the next worker needs.
    await firstOf<unknown>([slot.vacated], [signal]);
    signal.throwIfAborted();
    if (!this.#isOpenPlace(slot)) return;
    const worker = await this.#bootInto(slot, () => undefined, signal);
    // A worker that stands still does not delay the switch: see `look`.
    if (this.#options.isActive()) await withDeadline(worker.open(), gateDeadline);
    else worker.kill();
  }

  #isOpenPlace({ worker, renewing, stopped, waits }: Slot): boolean {
    return this.#options.isActive() && worker === undefined && !renewing && !stopped && !waits;
  }

  #bootInto(slot: Slot, report: (line: string) => void, signal: AbortSignal): Promise<WorkerHandle> {
    return this.#options.starter.start(slot.instance, report, signal, (worker) => {
      slot.worker = worker;
    });
  }
}

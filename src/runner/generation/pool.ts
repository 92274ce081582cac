import { AppError } from '../../errors/app-error.ts';
import type { Crash, GenerationSpec, Liveness, RestartSpec } from '../../protocol/runner.ts';
import { firstOf } from '../../system/concurrency/deadline.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import type { Clock } from '../clock.ts';
import { describeExit, type Exit } from '../exit.ts';
import { Restarts } from './restarts.ts';
import type { WorkerHandle } from './worker-handle.ts';
import { NotStarted, type StartWorker } from './worker-starter.ts';

/** Pause before the next attempt to replace a worker, in ms. */
const replacePause = 10_000;
/** Pause before the next attempt to replace a worker that has retired by itself, in ms: perhaps no worker is open. */
const retiredPause = 1000;
/** Pause before the replacement of a worker that exceeds its limit from its start, in ms. */
const hopelessPause = 60_000;

interface PoolOptions {
  spec: GenerationSpec;
  start: StartWorker;
  /** ends starts and replacements under way, and cuts drains short */
  stopping: AbortSignal;
  /** returns true while the generation has the traffic: only then are empty slots filled */
  isActive(): boolean;
  log(message: string): void;
  clock: Clock;
}

/** Position of one worker in the pool. */
class Slot {
  readonly instance: number;
  readonly restarts: Restarts;
  worker: WorkerHandle | undefined;
  /** fulfilled when the former worker of this slot and its children are gone */
  vacated: Promise<void> = Promise.resolve();
  /** fulfilled when the last start of a worker for this slot has succeeded or failed */
  started: Promise<void> = Promise.resolve();
  /**
   * `filled`: never empty for long; `reserved`: empty until the end of a low-memory switch, or after `vacate`; `stopped`: empty for
   * good, because of `stopExitCodes`
   */
  use: 'filled' | 'reserved' | 'stopped' = 'filled';
  /** true while a worker is being started because the slot is empty */
  isFilling = false;
  /** pause before that start, in ms */
  delay = 0;
  /** true while another worker is being started beside the one in the slot */
  isReplacing = false;
  /** that other worker, from the start of its process to the end of its start */
  successor: WorkerHandle | undefined;
  /** earliest time of the next replacement: of a worker that accepts requests, and of one that has retired by itself */
  notBefore = { accepting: 0, retired: 0 };

  constructor(instance: number, spec: RestartSpec) {
    this.instance = instance;
    this.restarts = new Restarts(spec);
  }
}

/**
 * Worker pool of a generation, with one slot for each worker. While the generation is active, the pool restarts workers that
 * have died, and replaces workers that exceed their memory limit or are stuck.
 */
export class WorkerPool {
  /** last death of a worker in a slot */
  crash: Crash | null = null;
  /** number of deaths of workers while the generation was active */
  deaths = 0;
  readonly #options: PoolOptions;
  readonly #spec: GenerationSpec;
  readonly #slots: Slot[];
  /** replaced workers that drain, the oldest first */
  readonly #replaced = new Set<WorkerHandle>();
  /** time since when no worker accepts because of `vacate`, by `performance.now()` */
  vacantSince: number | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#spec = options.spec;
    const { workers, restarts } = options.spec;
    this.#slots = Array.from({ length: workers }, (_, instance) => new Slot(instance, restarts));
  }

  /**
   * Starts workers and waits until they are healthy. Starts the first one alone: two first starts at once, of an app that
   * creates its database, corrupt the database. The first one saves the compiled code while the others boot.
   * @param count number of workers; the other slots stay empty until `fillReserved`
   * @returns all workers, also those that have ended since they were healthy
   */
  async startWorkers(
    count: number,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<WorkerHandle[]> {
    for (const slot of this.#slots.slice(count)) slot.use = 'reserved';
    const start = (slot: Slot) => this.#startIn(slot, report, signal);
    const first = await Promise.all(this.#slots.slice(0, 1).map(start));
    // Before the switch, because it blocks the worker.
    const saved = first.map((worker) => worker.saveCompiled());
    const others = await Promise.all(this.#slots.slice(1, count).map(start));
    await Promise.all(saved);
    return [...first, ...others];
  }

  /**
   * Opens all workers that listen, and fills empty slots.
   * @param wait true if the workers may not read from connections before `serve`
   */
  async open({ wait = false } = {}): Promise<void> {
    const ready = this.#slots.flatMap(({ worker }) => (worker && worker.state !== 'booting' ? [worker] : []));
    await Promise.all(ready.map((worker) => worker.open({ wait })));
    for (const slot of this.#slots) void this.#fill(slot);
  }

  /** Lets workers that were opened with `wait` read from their connections. */
  serve(): void {
    for (const { worker } of this.#slots) worker?.serve();
  }

  /** Lets all open workers even out their idle connections, because a worker has joined them. */
  evenOut(): void {
    for (const { worker } of this.#slots) if (worker?.state === 'open') worker.evenOut();
  }

  /** True if a worker has confirmed that it accepts connections. */
  get isOpen(): boolean {
    return this.#slots.some(({ worker }) => worker?.state === 'open');
  }

  /** True if no slot has lost its worker. */
  get isComplete(): boolean {
    return this.#slots.every(({ worker, use }) => use === 'reserved' || worker !== undefined);
  }

  /**
   * True if each slot has a retired worker that can open again. Such a worker takes no more memory than it may, and its event
   * loop turns.
   */
  get mayReopen(): boolean {
    const { stuckTimeout } = this.#spec;
    return this.#slots.every(({ worker }) => {
      if (worker === undefined || !worker.alive || worker.isKilled || worker.isDraining) return false;
      const hasRetired = worker.state === 'retired' || worker.state === 'drained';
      const isStuck = stuckTimeout > 0 && worker.silentFor > stuckTimeout;
      return hasRetired && !isStuck && !isOverLimit(worker, this.#spec);
    });
  }

  /** Returns the workers in slots: all but those that others have replaced. */
  get current(): WorkerHandle[] {
    return this.#slots.flatMap(({ worker }) => worker ?? []);
  }

  /**
   * Retires and drains some workers, to free memory for another generation; one worker always stays. Their slots stay empty
   * until `fillReserved`.
   */
  async retireSome(count: number): Promise<void> {
    const open = this.#slots.filter(({ worker, isReplacing }) => worker?.state === 'open' && !isReplacing);
    await Promise.all(
      open.slice(0, Math.min(count, open.length - 1)).map(async (slot) => {
        const { worker } = slot;
        slot.use = 'reserved';
        slot.worker = undefined;
        if (worker !== undefined) await this.#retireReplaced(worker);
      }),
    );
  }

  /**
   * Retires, drains and ends all workers, because a generation that starts cannot run beside them. New connections wait in the
   * kernel, and idle ones in the handoff. The slots stay empty until `fillReserved`.
   */
  async vacate(): Promise<void> {
    this.vacantSince ??= performance.now();
    await Promise.all(this.#slots.map((slot) => this.#vacate(slot)));
    await Promise.all([...this.#replaced].map((worker) => worker.gone));
  }

  async #vacate(slot: Slot): Promise<void> {
    if (slot.use === 'filled') slot.use = 'reserved';
    if (slot.worker !== undefined) this.#endIn(slot, slot.worker, { inboxes: true });
    slot.successor?.kill();
    await slot.started;
    await slot.vacated;
  }

  /** Empties a slot, and ends its worker before another one starts. */
  #endIn(slot: Slot, worker: WorkerHandle, { inboxes = false } = {}): void {
    slot.worker = undefined;
    const serves = worker.state !== 'booting' && worker.state !== 'ready';
    if (!serves) worker.kill();
    const ended = serves
      ? this.#retireReplaced(worker, { beforeSuccessor: true, inboxes })
      : Promise.resolve();
    slot.vacated = ended.then(() => worker.gone);
  }

  /** Starts the workers that a low-memory switch has left out, or that `vacate` has ended. */
  fillReserved(): void {
    this.vacantSince = undefined;
    for (const slot of this.#slots.filter(({ use }) => use === 'reserved')) {
      slot.use = 'filled';
      void this.#fill(slot);
    }
  }

  get liveness(): Liveness {
    const answers = this.#slots.some(({ worker, restarts }) => {
      if (worker?.state !== 'open') return false;
      return !restarts.isCrashing || worker.upFor() >= this.#spec.restarts.minUptime;
    });
    if (answers) return 'running';
    if (this.#slots.every(({ use }) => use === 'stopped')) return 'stopped';
    return this.#slots.some(({ restarts }) => restarts.isCrashing) ? 'crashed' : 'starting';
  }

  /** Returns how many workers have followed the first one in a worker's slot. */
  restartsOf({ instance }: WorkerHandle): number {
    return this.#slots[instance]?.restarts.count ?? 0;
  }

  /** Checks each worker of an active generation. */
  tick(now: number): void {
    for (const { worker } of this.#slots) if (worker !== undefined) this.checkWorker(worker, now);
  }

  /** Replaces a worker that has a fault, or kills it if it takes far too much memory. */
  checkWorker(worker: WorkerHandle, now: number): void {
    const slot = this.#slots[worker.instance];
    if (slot?.worker !== worker) return;
    const fault = faultOf(worker, this.#spec, now);
    const notBefore = worker.isRetiring ? slot.notBefore.retired : slot.notBefore.accepting;
    if (fault !== undefined && now >= notBefore) void this.#replace(slot, fault);
    if (worker.isKilled || !isFarOverLimit(worker, this.#spec)) return;
    worker.log('takes several times the memory that it may, and is ended at once');
    worker.kill();
  }

  /** Replaces all workers, one after the other. */
  async replaceAll(why: string): Promise<void> {
    for (const slot of this.#slots) if (this.#options.isActive()) await this.#replace(slot, why);
  }

  /** Empties the slot of a worker that has exited, and restarts the worker if the generation is active. */
  exited(worker: WorkerHandle, exit: Exit): void {
    const slot = this.#slots[worker.instance];
    if (slot?.worker !== worker) return;
    slot.worker = undefined;
    slot.vacated = worker.gone;
    if (this.#options.isActive()) void this.#restart(slot, worker, exit);
  }

  /**
   * Starts another worker, and retires the one in the slot once the other one is open: no request is lost. If workers may not
   * overlap, ends the one in the slot first, and clients wait.
   */
  async #replace(slot: Slot, why: string): Promise<void> {
    const { start, stopping, isActive, clock } = this.#options;
    const old = slot.worker;
    if (old === undefined || slot.isReplacing) return;
    old.log(`${why}, and is replaced`);
    if (!this.#spec.overlap) {
      this.#endIn(slot, old);
      slot.restarts.replaced();
      slot.delay = 0;
      return this.#fill(slot);
    }
    slot.isReplacing = true;
    try {
      const starting = start(
        slot.instance,
        () => undefined,
        stopping,
        (worker) => {
          slot.successor = worker;
          // `vacate` has emptied the slot since the start began.
          if (slot.use !== 'filled') worker.kill();
        },
      );
      // If it is killed, its children may still have ports and files.
      slot.started = settle(starting.catch(() => slot.successor?.gone));
      const fresh = await starting;
      if (!isActive() || slot.use !== 'filled') {
        fresh.kill();
        slot.vacated = fresh.gone;
        return;
      }
      await fresh.open();
      if (!fresh.alive) throw new Error('the new worker ended as soon as it was opened');
      slot.worker = fresh;
      this.evenOut();
      slot.restarts.replaced();
      fresh.log(`replaces process ${old.pid}`);
      this.#checkLimit(slot, fresh);
      void this.#retireReplaced(old);
    } catch (error) {
      const now = clock.now();
      slot.notBefore = { accepting: now + replacePause, retired: now + retiredPause };
      if (isActive() && slot.worker === old) {
        old.log(`was not replaced: ${(error as Error).message}`);
        // Better a worker that has retired by itself than none.
        if (old.alive && old.isRetiring) {
          await old.open();
          old.log('accepts requests again');
        }
      }
    } finally {
      slot.isReplacing = false;
      slot.successor = undefined;
      void this.#fill(slot);
    }
  }

  /** Delays the next replacement if a new worker exceeds its limit from its start: replacing it does not help. */
  #checkLimit(slot: Slot, fresh: WorkerHandle): void {
    fresh.figures.read();
    if (!isOverLimit(fresh, this.#spec)) return;
    slot.notBefore.accepting = this.#options.clock.now() + hopelessPause;
    fresh.log('takes more memory than "maxMemory" from its start: the limit is below the needs of the app');
  }

  /** Retires, drains and ends a worker that has no slot any more. If too many drain, ends the oldest at once. */
  async #retireReplaced(
    worker: WorkerHandle,
    handOff = { beforeSuccessor: false, inboxes: false },
  ): Promise<void> {
    this.#replaced.add(worker);
    const excess = this.#replaced.size - this.#spec.maxDraining * this.#spec.workers;
    for (const oldest of [...this.#replaced].slice(0, Math.max(0, excess))) {
      this.#replaced.delete(oldest);
      oldest.log(
        'is ended with its requests in flight, because too many replaced workers are draining ("maxDraining")',
      );
      void oldest.end();
    }
    const retired = worker.retire(false);
    worker.handOff(handOff);
    // Of an exec worker, only some processes may stand still.
    if ((await retired) || worker.members?.hasRetired) {
      await worker.drain(this.#spec.drainTimeout, this.#options.stopping);
    } else {
      // The event loop stands still, so nothing in flight could finish.
      worker.log('does not answer, and is ended with what it had in flight');
      worker.kill();
    }
    this.#replaced.delete(worker);
  }

  /** Logs the death of a worker, and fills its slot after a delay that depends on earlier deaths. */
  async #restart(slot: Slot, worker: WorkerHandle, exit: Exit): Promise<void> {
    const { restarts } = slot;
    if (!restarts.isFinal(exit.code)) this.deaths += 1;
    const uptime = worker.upFor();
    const delay = restarts.noteDeath(uptime, exit.code);
    slot.use = delay === null ? 'stopped' : 'filled';
    slot.delay = delay ?? 0;
    const how = `${describeExit(exit)} ${uptime === 0 ? 'before it listened' : `after ${formatDuration(uptime)}`}`;
    const next = restarts.describeNext(delay);
    const at = new Date().toISOString();
    void this.#fill(slot);
    await worker.output.end();
    worker.log(`${how}; ${next}`);
    this.crash = { at, message: `worker ${worker.instance} ${how}`, output: worker.output.lastLines() };
  }

  /** Starts workers in an empty slot of an active generation until one stays. Does nothing if the slot is not empty. */
  async #fill(slot: Slot): Promise<void> {
    const { stopping, isActive, clock, log } = this.#options;
    if (slot.isFilling) return;
    slot.isFilling = true;
    while (this.#mustFill(slot)) {
      try {
        await clock.sleep(slot.delay, stopping);
        // Children of the former worker may have ports and files that the next worker needs.
        await firstOf<unknown>([slot.vacated], [stopping]);
        stopping.throwIfAborted();
        if (!this.#mustFill(slot)) break;
        const worker = await this.#startIn(slot, () => undefined, stopping);
        if (isActive() && slot.worker === worker) {
          await worker.open();
          this.evenOut();
        } else worker.kill();
      } catch (error) {
        if (!isActive()) break;
        // Without a process, no death sets the delay.
        if (error instanceof NotStarted) slot.delay = slot.restarts.noteFailedStart();
        // Its death has been logged already.
        else if (error instanceof AppError && error.code === 'boot_exited') continue;
        log(`worker ${slot.instance} was not started: ${(error as Error).message}`);
      }
    }
    slot.isFilling = false;
  }

  #mustFill({ worker, isReplacing, use }: Slot): boolean {
    return this.#options.isActive() && worker === undefined && !isReplacing && use === 'filled';
  }

  #startIn(slot: Slot, report: (line: string) => void, signal: AbortSignal): Promise<WorkerHandle> {
    const starting = this.#options.start(slot.instance, report, signal, (worker) => {
      if (slot.use === 'filled') slot.worker = worker;
      else {
        // `vacate` has emptied the slot since the start began.
        worker.kill();
        slot.vacated = worker.gone;
      }
    });
    slot.started = settle(starting);
    return starting;
  }
}

/** Returns a promise that is fulfilled when another one is settled. */
function settle(promise: Promise<unknown>): Promise<void> {
  const ignore = () => undefined;
  return promise.then(ignore, ignore);
}

/** Returns a clause on why a worker must be replaced; undefined if the worker has no fault. */
function faultOf(worker: WorkerHandle, spec: GenerationSpec, now: number): string | undefined {
  const { isRetiring, state, beat, silentFor, figures } = worker;
  const { maxMemory, stuckTimeout } = spec;
  if (isOverLimit(worker, spec)) {
    const [taken, limit] = [figures.memoryBytes ?? 0, maxMemory ?? 0].map(formatBytes);
    return `takes ${taken} of memory, more than ${limit} ("maxMemory")`;
  }
  if (isRetiring) return 'accepts no requests any more';
  const isOpen = state === 'open' || state === 'opening';
  const isSilent = stuckTimeout > 0 && isOpen && beat !== undefined && silentFor > stuckTimeout;
  // A worker may wait for a log that cannot be written. A new worker would wait as well.
  if (isSilent && !worker.output.isBlocked(now)) {
    if (worker.members?.listens === false)
      return `no process has listened for ${formatDuration(silentFor)} ("stuckTimeout")`;
    return `has not turned its event loop for ${formatDuration(silentFor)} ("stuckTimeout")`;
  }
  return undefined;
}

/**
 * Returns true if a worker is so far beyond its limit that it is killed without waiting for another worker. A worker whose
 * event loop turns stops accepting requests long before that: see src/worker/health-report.cjs.
 */
function isFarOverLimit(worker: WorkerHandle, spec: GenerationSpec): boolean {
  return isOverLimit(worker, spec, 4);
}

function isOverLimit(
  { figures: { memoryBytes } }: WorkerHandle,
  { maxMemory }: GenerationSpec,
  times = 1,
): boolean {
  return maxMemory !== null && memoryBytes !== null && memoryBytes > maxMemory * times;
}

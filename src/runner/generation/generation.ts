import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec, Notice } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import type { Exit } from '../exit.ts';
import { waitUntilSettled } from './boot-check.ts';
import { gateDeadline } from './gate-deadline.ts';
import { WorkerPool } from './pool.ts';
import { ShortageWatch } from './shortage-watch.ts';
import { StartupFailures } from './startup-failure.ts';
import type { WorkerHandle } from './worker-handle.ts';
import { type WorkerContext, WorkerStarter } from './worker-starter.ts';

/** How often a process is looked at that has no limit, in ms. */
const lookEvery = 950;

interface GenerationOptions extends WorkerContext {
  id: number;
  /** told of each worker that is gone */
  exited(worker: WorkerHandle, exit: Exit): void;
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
  readonly workers = new Set<WorkerHandle>();
  readonly pool: WorkerPool;
  readonly #options: GenerationOptions;
  readonly #failures: StartupFailures;
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
    this.#failures = new StartupFailures(spec);
    this.#release = options.group.retain();
    this.#shortages = new ShortageWatch(options.group, options.log, (what) => {
      const [worker] = this.workers;
      if (worker !== undefined) this.#say(worker, what);
    });
    const starter = new WorkerStarter({
      ...options,
      generation: id,
      failures: this.#failures,
      notices: this.notices,
      started: (worker) => this.workers.add(worker),
      memoryExceeded: (worker) => this.state === 'active' && this.pool.checkWorker(worker, performance.now()),
      exited: (worker, exit) => this.#exited(worker, exit),
    });
    this.pool = new WorkerPool({
      ...{ spec, starter, log: options.log, stopping: this.#stopping.signal },
      isActive: () => this.state === 'active',
      say: (worker, what) => this.#say(worker, what),
    });
  }

  /**
   * Starts all workers and proves them healthy.
   * @param count how many of them, where memory is too short for all; the others are started by `places.complete`
   * @param report told each thing that happens, for the deploy's log
   * @returns milliseconds until the last one was healthy
   * @throws AppError `boot_exited`, `boot_timeout`, `health_failed`, `settle_exited`; no worker is left then
   */
  async startWorkers(
    report: (line: string) => void,
    signal: AbortSignal,
    count = this.spec.workers,
  ): Promise<number> {
    const aborted = AbortSignal.any([signal, this.#stopping.signal]);
    const start = performance.now();
    try {
      const workers = await this.pool.startWorkers(count, report, aborted);
      const bootMs = performance.now() - start;
      await waitUntilSettled(workers, this.spec, this.#failures, aborted);
      this.state = 'standby';
      return bootMs;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Bytes that its workers take; what they share counts for each. */
  get memoryBytes(): number {
    for (const { figures } of this.workers) figures.read();
    return [...this.workers].reduce((sum, { figures }) => sum + (figures.memoryBytes ?? 0), 0);
  }

  get group(): Cgroup {
    return this.#options.group;
  }

  /**
   * Opens all gates, again where a switch has failed. The caller has made this generation the active one on the disk.
   * @param wait true if no worker may read from connections before `places.serve`
   */
  async open({ wait = false } = {}): Promise<void> {
    this.state = 'active';
    await this.pool.open({ wait });
  }

  /**
   * Shuts all gates.
   * @param last whether no other generation takes over
   * @returns those that did not confirm in time: their event loop stands still, and requests may yet reach them
   */
  async retire({ last = false } = {}): Promise<WorkerHandle[]> {
    this.state = 'draining';
    const late: WorkerHandle[] = [];
    await Promise.all(
      [...this.workers].map(async (worker) => {
        if (worker.state === 'booting' || worker.state === 'ready') return worker.kill();
        const { timedOut } = await withDeadline(worker.retire(last), gateDeadline);
        if (timedOut) late.push(worker);
      }),
    );
    return late;
  }

  /** Lets workers shut the ports besides the app's own. To be called after `retire`, when another generation has opened. */
  relieve(): void {
    for (const worker of this.workers) worker.relieve();
  }

  /** Lets a retired generation finish what it has in flight, up to `drainTimeout`, and ends it. */
  async drain(): Promise<void> {
    await Promise.all([...this.workers].map((worker) => this.pool.drain(worker)));
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
    await Promise.all([...this.workers].map((worker) => worker.gone));
    this.#release();
  }

  /** Open workers that are not retiring. */
  serving(): WorkerHandle[] {
    return [...this.workers].filter((worker) => worker.state === 'open' && !worker.isRetiring);
  }

  /**
   * Checks each worker: its memory, and whether it must be replaced. Called often.
   * @param attended see Ticker
   */
  tick(now: number, attended: number): void {
    // Where no limit is to be kept, once a second is enough for what is shown.
    const leisurely = this.spec.maxMemory === null;
    for (const worker of this.workers) {
      worker.silentFor += attended;
      if (!leisurely || worker.figures.age(now) >= lookEvery) worker.figures.read(now);
    }
    this.#shortages.tick(now);
    if (this.state === 'active') this.pool.tick(now);
  }

  #exited(worker: WorkerHandle, exit: Exit): void {
    this.workers.delete(worker);
    this.#options.exited(worker, exit);
    this.pool.exited(worker, exit);
  }

  /** Something that the app's owner should find in its log, and we in ours. */
  #say(worker: WorkerHandle, what: string): void {
    worker.output.note(`worker ${worker.instance} (pid ${worker.pid}) ${what}`);
    this.#options.log(`worker ${worker.instance} (pid ${worker.pid}) ${what}`);
  }
}

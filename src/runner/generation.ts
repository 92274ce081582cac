import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors/app-error.ts';
import type { GenerationSpec, Notice } from '../protocol/runner.ts';
import { backoffDelay } from '../system/backoff.ts';
import { withDeadline } from '../system/deadline.ts';
import { proveHealthy, proveSettled } from './boot-check.ts';
import { BootFailures, describeExit } from './boot-failure.ts';
import { prepareLogs, setLogAside } from './generation-log.ts';
import type { ListeningPort } from './listening-port.ts';
import type { ProcessRecords } from './process-records.ts';
import { type Ready, type WorkerExit, type WorkerListener, WorkerProcess } from './worker-process.ts';

/** A worker whose event loop does not turn for this long does not hold up a switch; in ms. */
const gateDeadline = 1000;

const replacement = { initial: 100, factor: 1.5, ceiling: 15_000 };
/** Having lived this long, a worker's death is not counted with those before it; in ms. */
const steadyTime = 30_000;

export interface GenerationOptions {
  id: number;
  spec: GenerationSpec;
  port: ListeningPort;
  orphanSocket: string;
  records: ProcessRecords;
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
  readonly workers = new Set<WorkerProcess>();
  readonly #options: GenerationOptions;
  readonly #failures: BootFailures;
  /** ends boots and replacements under way */
  readonly #stopping = new AbortController();
  #deaths = 0;

  constructor(options: GenerationOptions) {
    this.id = options.id;
    this.spec = options.spec;
    this.#options = options;
    this.#failures = new BootFailures(options.spec, options.id);
  }

  /**
   * Starts all workers and proves them healthy. The first one boots alone: two first boots at once, of an app that
   * creates its database, corrupt it.
   * @param report told each thing that happens, for the deploy's log
   * @returns milliseconds until the last one was healthy
   * @throws AppError `boot_exited`, `boot_timeout`, `health_failed`, `settle_exited`; no worker is left then
   */
  async boot(report: (line: string) => void, signal: AbortSignal): Promise<number> {
    const { spec } = this;
    const aborted = AbortSignal.any([signal, this.#stopping.signal]);
    const start = performance.now();
    try {
      await prepareLogs(spec);
      await this.#bootWorker(0, report, aborted);
      const rest = Array.from({ length: spec.workers - 1 }, (_, index) => index + 1);
      await Promise.all(rest.map((instance) => this.#bootWorker(instance, report, aborted)));
      const bootMs = performance.now() - start;
      await proveSettled([...this.workers], spec, this.#failures, aborted);
      this.state = 'standby';
      return bootMs;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /**
   * Opens all gates, again where a switch has failed. The caller has made this generation the active one on the disk.
   */
  async open(): Promise<void> {
    this.state = 'active';
    const booted = [...this.workers].filter((worker) => worker.state !== 'booting');
    await Promise.all(booted.map((worker) => withDeadline(worker.open(), gateDeadline)));
    this.#fill();
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
    await Promise.all(
      [...this.workers].map(async (worker) => {
        await Promise.race([
          withDeadline(worker.drained, this.spec.drainTimeout),
          new Promise((resolve) => this.#stopping.signal.addEventListener('abort', resolve, { once: true })),
        ]);
        await worker.end(this.spec.killTimeout);
      }),
    );
    this.state = 'ended';
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
    try {
      await setLogAside(this.spec, this.id);
    } catch (error) {
      // What the caller must hear is why it did not start, and not this.
      this.#options.log(`the log of a failed start stays among the others: ${(error as Error).message}`);
    }
  }

  /** Workers that connections can be given to. */
  serving(): WorkerProcess[] {
    return [...this.workers].filter((worker) => worker.state === 'open');
  }

  #spawn(instance: number): WorkerProcess {
    const { port, orphanSocket, records, moves } = this.#options;
    const worker = new WorkerProcess({
      spec: this.spec,
      generation: this.id,
      instance,
      port,
      orphanSocket,
      records,
      listener: {
        connection: moves.connection,
        held: moves.held,
        exited: (gone, exit) => this.#exited(gone, exit),
      },
    });
    this.workers.add(worker);
    return worker;
  }

  #exited(worker: WorkerProcess, exit: WorkerExit): void {
    this.workers.delete(worker);
    this.#options.exited(worker);
    if (this.state !== 'active') return;
    const lived = Date.now() - worker.startedAt.getTime();
    this.#deaths = lived >= steadyTime ? 0 : this.#deaths + 1;
    this.#options.log(`worker ${worker.instance} (pid ${worker.pid}) ${describeExit(exit)} and is replaced`);
    this.#fill();
  }

  /** Starts what is missing of an active generation; called again after each change, harmless when all are there. */
  #fill(): void {
    if (this.state !== 'active') return;
    const present = new Set([...this.workers].map((worker) => worker.instance));
    for (let instance = 0; instance < this.spec.workers; instance += 1) {
      if (present.has(instance) || this.#replacing.has(instance)) continue;
      this.#replacing.add(instance);
      void this.#replace(instance).finally(() => {
        this.#replacing.delete(instance);
        this.#fill();
      });
    }
  }
  readonly #replacing = new Set<number>();

  async #replace(instance: number): Promise<void> {
    const { signal } = this.#stopping;
    try {
      await sleep(backoffDelay(this.#deaths - 1, replacement), undefined, { signal, ref: false });
      // Retired meanwhile: it is not to boot once more.
      if (this.state !== 'active') return;
      const worker = await this.#bootWorker(instance, () => undefined, signal);
      if (this.state === 'active') await worker.open();
      else worker.kill();
    } catch (error) {
      // The exit of one that started has been counted; one that could not be started has none.
      if (!(error instanceof AppError)) this.#deaths += 1;
      if (this.state === 'active')
        this.#options.log(`worker ${instance} was not replaced: ${(error as Error).message}`);
    }
  }

  /** One worker from start to healthy; it is killed where it does not get there. */
  async #bootWorker(
    instance: number,
    report: (line: string) => void,
    signal: AbortSignal,
  ): Promise<WorkerProcess> {
    signal.throwIfAborted();
    const worker = this.#spawn(instance);
    const listens = (ready: Ready) => {
      report(`worker ${instance} listens (pid ${worker.pid})`);
      if (instance === 0) this.#noteHardCodedPort(ready);
    };
    try {
      await proveHealthy(worker, this.spec, this.#failures, listens, signal);
      return worker;
    } catch (error) {
      worker.kill();
      await worker.exited;
      throw error;
    }
  }

  #noteHardCodedPort({ listens }: Ready): void {
    const { port, codePort } = this.spec;
    if (listens === port || listens === codePort) return;
    this.notices.push({
      code: 'hardcoded_port',
      message: `the app listens on ${listens} and not on PORT (${port}); it is reached on ${port} all the same`,
      hint: `Use process.env.PORT in its listen(), or set "port": ${listens} in sluice.json to say that this is meant.`,
    });
  }
}

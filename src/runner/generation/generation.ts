import { AppError } from '../../errors/app-error.ts';
import type { BootResult, GenerationSpec, Notice, WorkerStatus } from '../../protocol/runner.ts';
import type { Cgroup } from '../cgroups/cgroup.ts';
import { type Clock, systemClock } from '../clock.ts';
import { describeShortage, type Exit } from '../exit.ts';
import { waitForHealthCommand } from '../health-command.ts';
import { type ListeningPort, socketCopies } from '../ports/listening-port.ts';
import type { Before } from '../watch/judge.ts';
import { checkHealth } from './health.ts';
import { WorkerPool } from './pool.ts';
import { waitUntilSettled } from './startup-check.ts';
import type { Ready, WorkerHandle } from './worker-handle.ts';
import { type WorkerContext, workerStarter } from './worker-starter.ts';

/** Interval between two checks of a cgroup, and of a process without a memory limit, in ms. */
const slowInterval = 950;
/** Number of times that the workers of a generation may open: each time uses up a copy of the listening socket. */
const mostOpenings = socketCopies - 2;
/** Time for a generation on standby to answer a health check, in ms: a boot takes as long, and gives fresh workers. */
const answersWithin = 500;
/** Time after which a server on standby that did not speak HTTP at its boot counts as healthy without an answer, in ms. */
const knownSilence = 100;
/** Longest interval between two heartbeats, in ms. Only they show that each process of a command turns its event loop. */
const longestBeat = 2000;
/** Interval between two log lines about the same shortage, in ms. */
const shortageLogInterval = 60_000;

interface GenerationOptions extends WorkerContext {
  id: number;
  /** called for each worker that has exited */
  exited(worker: WorkerHandle, exit: Exit): void;
}

/** Workers that run one release. */
export class Generation {
  readonly id: number;
  readonly spec: GenerationSpec;
  /** true from the switch to this generation until the next switch */
  #isActive = false;
  /** all workers that live, also replaced ones */
  readonly workers = new Set<WorkerHandle>();
  readonly pool: WorkerPool;
  readonly #options: GenerationOptions;
  readonly #clock: Clock;
  /** aborted to end starts and replacements under way, and to cut drains short */
  readonly #stopping = new AbortController();
  /** releases the cgroup, which ends the processes in it, the inboxes and the load table */
  readonly #releaseGroup: () => void;
  #timesOpened = 0;
  /** responses that were counted: see `count` */
  responses = { total: 0, errors: 0 };
  /** longest delay of an event loop that a heartbeat has reported, in ms */
  #worstDelay = 0;
  /** time of the last switch to this generation, by `performance.now()` */
  #openedAt: number | undefined;
  #shortagesCheckedAt = Number.NEGATIVE_INFINITY;
  #shortageLoggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: GenerationOptions) {
    const { id, spec, log } = options;
    const clock = systemClock;
    this.#clock = clock;
    this.id = id;
    this.spec = spec;
    this.#options = options;
    const release = options.group.retain();
    this.#releaseGroup = () => {
      void release();
      options.inboxes?.[Symbol.dispose]();
      options.loads?.[Symbol.dispose]();
    };
    const isActive = () => this.#isActive;
    const start = workerStarter({
      ...options,
      generation: id,
      started: (worker) => this.workers.add(worker),
      listener: {
        responded: ({ total, errors }) => {
          const { responses } = this;
          this.responses = { total: responses.total + total, errors: responses.errors + errors };
        },
        joined: () => isActive() && this.pool.evenOut(),
        memoryExceeded: (worker) => isActive() && this.pool.checkWorker(worker, clock.now()),
        exited: (worker, exit) => {
          this.workers.delete(worker);
          options.exited(worker, exit);
          this.pool.exited(worker, exit);
        },
      },
    });
    this.pool = new WorkerPool({ spec, start, stopping: this.#stopping.signal, isActive, log, clock });
  }

  /**
   * Starts workers, and waits until all are healthy and have run for some time: see waitUntilSettled.
   * @param report called with a line for each step, for the deploy's log
   * @param count number of workers; `pool.fillReserved` starts the others
   * @throws AppError `boot_exited`, `boot_timeout`, `boot_cluster`, `health_failed`, `settle_exited`; call `kill` then
   */
  async startWorkers(
    report: (line: string) => void,
    signal: AbortSignal,
    count: number,
  ): Promise<BootResult> {
    const aborted = AbortSignal.any([signal, this.#stopping.signal]);
    const start = performance.now();
    const workers = await this.pool.startWorkers(count, report, aborted);
    const [{ protocol = 'http', listening } = {}] = workers;
    await waitForHealthCommand(this.#options, { PORT: String(listening?.port) }, aborted);
    const bootMs = performance.now() - start;
    await waitUntilSettled(workers, this.spec, aborted, this.#clock);
    const notices = listening === undefined ? [] : noticesOf(listening, this.spec);
    return { generation: this.id, workers: workers.length, bootMs, protocol, notices };
  }

  /** Number of descriptors of the inboxes and the load table that the runner has open. */
  get sharedDescriptors(): number {
    const { inboxes, loads } = this.#options;
    return 2 * (inboxes?.all.length ?? 0) + (loads === undefined ? 0 : 1);
  }

  get port(): ListeningPort {
    return this.#options.port;
  }

  get group(): Cgroup {
    return this.#options.group;
  }

  /**
   * Lets all workers accept connections, also after `retire`: if a switch has failed, and from standby.
   * @param wait true if no worker may read from connections before `pool.serve`
   */
  async open({ wait = false } = {}): Promise<void> {
    this.#isActive = true;
    this.#timesOpened += 1;
    this.#openedAt = performance.now();
    await this.pool.open({ wait });
  }

  /**
   * Lets all workers accept no more requests, and kills those that are still starting.
   * @param last true if no other generation takes over
   */
  async retire({ last = false } = {}): Promise<void> {
    this.#isActive = false;
    const retired = [...this.workers].map(async (worker) => {
      if (worker.state === 'booting' || worker.state === 'ready') worker.kill();
      else if (!(await worker.retire(last)))
        worker.log('did not retire in time: its event loop stands still');
    });
    await Promise.all(retired);
  }

  /** Lets retired workers hand their idle connections to the workers of another generation, which must be open. */
  handOff(): void {
    for (const worker of this.workers) worker.handOff();
  }

  /** True if this retired generation can take the traffic again. */
  get mayReopen(): boolean {
    if (this.#timesOpened >= mostOpenings || this.#stopping.signal.aborted) return false;
    // The kernel would give connections to a former socket, on which no worker accepts.
    const { renewals } = this.port;
    return this.pool.mayReopen && this.pool.current.every((worker) => worker.renewals === renewals);
  }

  /**
   * Lets retired workers finish their requests, for up to `drainTimeout`, and keeps them on standby: `open` may follow at any time.
   * Ends workers that others have replaced.
   * @param ended aborted if the generation is to end instead: `drain` follows
   */
  async rest(ended: AbortSignal): Promise<void> {
    const { drainTimeout } = this.spec;
    const current = new Set(this.pool.current);
    const rests = [...this.workers].map((worker) =>
      current.has(worker)
        ? worker.rest(drainTimeout, ended)
        : worker.drain(drainTimeout, this.#stopping.signal),
    );
    await Promise.all(rests);
  }

  /** Lets all workers count their responses, or end the count. */
  count(on: boolean): void {
    for (const worker of this.workers) worker.count(on);
  }

  /** Facts about the generation since the switch to it. */
  get facts(): Before {
    const now = performance.now();
    const { responses, pool } = this;
    const activeFor = now - (this.#openedAt ?? now);
    return { activeFor, deaths: pool.deaths, worstDelay: this.#worstDelay, responses };
  }

  /** Time for which the event loop of an open worker has stood still for certain, in ms. */
  get silence(): number {
    const open = this.pool.current.filter(({ state }) => state === 'open' || state === 'opening');
    return Math.max(
      0,
      ...open.map(({ silentFor, members }) => (members === undefined ? silentFor : silentFor - longestBeat)),
    );
  }

  /** Shortest time since the last message of a worker, in ms; undefined without a worker. */
  get leastSilence(): number | undefined {
    const workers = [...this.workers];
    return workers.length === 0 ? undefined : Math.min(...workers.map(({ silentFor }) => silentFor));
  }

  /** Returns true if each worker on standby answers its health check at once. */
  async isHealthy(): Promise<boolean> {
    const late = AbortSignal.timeout(answersWithin);
    const answers = this.pool.current.map(async ({ listening, protocol }) => {
      if (listening === undefined) return false;
      const asked = { ...listening, protocol: protocol ?? listening.protocol };
      const health = await checkHealth(asked, this.spec.health, late, knownSilence).catch(() => undefined);
      return health !== undefined && health.fault === undefined;
    });
    return (await Promise.all(answers)).every(Boolean);
  }

  /** Returns the result of the boot of a generation that was on standby. @param bootMs time of its check */
  resultOf(bootMs: number): BootResult {
    const [{ protocol = 'http' } = {}] = this.pool.current;
    const workers = this.pool.current.length;
    return { generation: this.id, workers, bootMs, protocol, notices: [], wasWarm: true };
  }

  /** Lets retired workers, which never open again, close their copies of the listening socket. */
  leavePort(): void {
    for (const worker of this.workers) worker.leavePort();
  }

  /** Lets retired workers finish their requests, for up to `drainTimeout`, and ends them. @param stay see WorkerHandle.drain */
  async drain(stay = 0): Promise<void> {
    const { drainTimeout } = this.spec;
    const drains = [...this.workers].map((worker) => worker.drain(drainTimeout, this.#stopping.signal, stay));
    await Promise.all(drains);
    this.#releaseGroup();
  }

  /** Cuts a drain short. */
  hurry(): void {
    this.#stopping.abort();
  }

  /** Kills all workers of a generation that never had traffic. */
  async kill(): Promise<void> {
    this.#stopping.abort(new AppError('cancelled', 'the generation was ended while it started'));
    for (const worker of this.workers) worker.kill();
    await Promise.all([...this.workers].map((worker) => worker.gone));
    this.#releaseGroup();
  }

  /**
   * Checks each worker: its memory, and whether it must be replaced. Called often.
   * @param attended see tickRegularly
   */
  tick(now: number, attended: number): void {
    for (const worker of this.workers) {
      worker.silentFor += attended;
      this.#worstDelay = Math.max(this.#worstDelay, worker.beat?.eventLoopDelayMs ?? 0);
      if (this.spec.maxMemory !== null || worker.figures.age(now) >= slowInterval) worker.figures.read(now);
    }
    if (now - this.#shortagesCheckedAt >= slowInterval) this.#checkShortages(now);
    if (this.#isActive) this.pool.tick(now);
  }

  status(): WorkerStatus[] {
    return [...this.workers].map((worker) => {
      const { pid, instance, state, startedAt, figures, beat } = worker;
      return {
        pid,
        instance,
        generation: this.id,
        release: this.spec.release,
        state,
        startedAt: startedAt.toISOString(),
        restarts: this.pool.restartsOf(worker),
        cpuPercent: figures.cpuPercent,
        memoryBytes: figures.memoryBytes,
        eventLoopDelayMs: beat?.eventLoopDelayMs ?? null,
        connections: beat?.connections ?? null,
        requests: beat?.requests ?? null,
        metrics: worker.metrics.list(),
      };
    });
  }

  /** Logs what the kernel has refused: it may have killed a child of a worker, and not the worker. */
  #checkShortages(now: number): void {
    this.#shortagesCheckedAt = now;
    const shortages = this.group.shortages(now);
    if (shortages.some(({ of }) => of === 'memory'))
      this.#options.log('a process was killed by the kernel, because memory ran out');
    const processes = shortages.find(({ of }) => of === 'processes');
    if (processes === undefined || now - this.#shortageLoggedAt < shortageLogInterval) return;
    this.#shortageLoggedAt = now;
    const [worker] = this.workers;
    worker?.log(`belongs to a release at ${describeShortage(processes)}`);
  }
}

/** Returns what the owner of an app should know about the way it listens and ends. */
function noticesOf({ listens, onlyInterrupt }: Ready, { port, codePort }: GenerationSpec): Notice[] {
  const notices: Notice[] = [];
  if (listens !== port && listens !== codePort)
    notices.push({
      code: 'hardcoded_port',
      message: `the app listens on ${listens} and not on PORT (${port}); Sluice serves it on ${port} all the same`,
      hint: `Use process.env.PORT in its listen(), or set "port": ${listens} in sluice.json to confirm that port.`,
    });
  if (onlyInterrupt)
    notices.push({
      code: 'sigint_only',
      message: 'The app handles SIGINT but not SIGTERM, so Sluice ends it with SIGINT.',
      hint: 'To choose the signal, set "stopSignal" in sluice.json.',
    });
  return notices;
}

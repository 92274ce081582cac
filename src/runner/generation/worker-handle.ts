import type { Duplex } from 'node:stream';
import type { WorkerState } from '../../protocol/runner.ts';
import type { AppProtocol, FromWorker, ToWorker } from '../../protocol/worker.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { describeError } from '../../system/log/log.ts';
import { signalProcess } from '../../system/process/processes.ts';
import type { Allowance } from '../allowance.ts';
import type { Clock } from '../clock.ts';
import { type Exit, endProcess } from '../exit.ts';
import type { Handoff } from '../handoff.ts';
import { describeLeftovers } from '../jobs/leftovers.ts';
import type { ProcessOutput } from '../output/process-output.ts';
import { ProcessFigures } from '../process-figures.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { WorkerChannel } from './worker-channel.ts';

/** Time for a worker to open or to retire, in ms. A switch does not wait longer for a worker whose event loop stands still. */
export const confirmTimeout = 1000;
/** Time for a worker to report its requests in flight, in ms. */
const inFlightTimeout = 500;
/** Limit of the requests in flight that a worker may name. */
const maxNamedRequests = 20;

export type Ready = Extract<FromWorker, { type: 'ready' }>;
type Beat = Omit<Extract<FromWorker, { type: 'beat' }>, 'type'>;

/** Unfinished work of a worker. */
interface InFlight {
  requests: number;
  /** number of connections without an HTTP request, such as WebSockets */
  connections: number;
  /** some of the requests, such as `GET /path`, without the query */
  named: string[];
}

export interface WorkerListener {
  /** called when the worker exceeds its memory limit, or retires by itself for that reason */
  memoryExceeded(worker: WorkerHandle): void;
  exited(worker: WorkerHandle, exit: Exit): void;
}

export interface WorkerOptions {
  instance: number;
  /** 0 if the process could not be started */
  pid: number;
  /** undefined if the process could not be started */
  channel: Duplex | undefined;
  exited: Promise<Exit>;
  /** ends the processes that the worker has left running, and returns the number of killed ones */
  endLeftovers(killTimeout: number): Promise<number>;
  handoff: Handoff;
  allowance: Allowance;
  output: Pick<ProcessOutput, 'end' | 'note' | 'processEnded' | 'everything' | 'lastLines' | 'isBlocked'>;
  records: Pick<ProcessRecords, 'noteRetired' | 'remove'>;
  stopSignal: NodeJS.Signals;
  /** ms */
  killTimeout: number;
  listener: WorkerListener;
  clock: Clock;
  /** sends a signal to a process, or with a negative pid to its session */
  signal?: typeof signalProcess;
}

/** Runner's view of one worker: its process, its state, and messages to it. The worker's own view is src/worker/worker.cjs. */
export class WorkerHandle {
  readonly instance: number;
  readonly pid: number;
  readonly startedAt = new Date();
  readonly output: WorkerOptions['output'];
  readonly handoff: Handoff;
  readonly figures: ProcessFigures;
  /** fulfilled when the app listens; never if the app does not listen */
  readonly ready: Promise<Ready>;
  readonly exited: Promise<Exit>;
  /** fulfilled when the app starts processes with node:cluster; never if the app does not */
  readonly forked: Promise<void>;
  /** fulfilled when the worker and its children are gone */
  readonly gone: Promise<void>;
  /** current port of the app: an app may close its server and listen again */
  listening: Ready | undefined;
  /** protocol that the last health check has found; undefined before the first check */
  protocol: AppProtocol | undefined;
  state: WorkerState = 'booting';
  isKilled = false;
  /** true between `retire` and the next `open`, even before the worker confirms */
  isRetiring = false;
  /** last heartbeat; undefined before the worker listens */
  beat: Beat | undefined;
  /** attended time since the last heartbeat, in ms: see Ticker */
  silentFor = 0;
  readonly #options: WorkerOptions;
  readonly #signal: typeof signalProcess;
  readonly #channel: WorkerChannel | undefined;
  readonly #ready = Promise.withResolvers<Ready>();
  readonly #forked = Promise.withResolvers<void>();
  #opened = Promise.withResolvers<void>();
  #retired = Promise.withResolvers<void>();
  #drained = Promise.withResolvers<void>();
  #end: Promise<void> | undefined;
  /** requests in flight that have arrived for a pending query */
  #query: { named: string[]; result: PromiseWithResolvers<InFlight> } | undefined;
  #readyAt: number | undefined;
  #exitedAt: number | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#signal = options.signal ?? signalProcess;
    this.instance = options.instance;
    this.pid = options.pid;
    this.output = options.output;
    this.handoff = options.handoff;
    this.figures = new ProcessFigures(options.pid);
    this.ready = this.#ready.promise;
    this.forked = this.#forked.promise;
    this.exited = options.exited.then((exit) => {
      this.#exited(exit);
      return exit;
    });
    this.gone = this.exited.then(() => this.#endLeftovers());
    const { channel, allowance } = options;
    if (channel === undefined) return;
    this.#channel = new WorkerChannel(channel, {
      allowance,
      message: (message) => this.#receive(message),
      refused: () => {
        this.output.note(
          `worker ${this.instance} (pid ${this.pid}) wrote into the channel between it and Sluice, and is ended`,
        );
        this.kill();
      },
    });
  }

  #receive(message: FromWorker): void {
    const { listener, clock } = this.#options;
    switch (message.type) {
      case 'ready':
        if (this.state === 'booting') this.state = 'ready';
        this.#readyAt ??= clock.now();
        this.listening = message;
        this.beat ??= { eventLoopDelayMs: 0, connections: 0, requests: 0 };
        this.#ready.resolve(message);
        break;
      case 'beat':
        this.beat = message;
        this.silentFor = 0;
        break;
      case 'memoryExceeded':
        this.figures.memoryBytes = message.bytes;
        listener.memoryExceeded(this);
        break;
      case 'forked':
        this.#forked.resolve();
        break;
      case 'opened':
        if (this.state === 'opening') this.state = 'open';
        this.#opened.resolve();
        break;
      case 'retired':
        this.#confirmRetirement();
        break;
      case 'drained':
        if (this.state !== 'retired') break;
        this.state = 'drained';
        this.#drained.resolve();
        break;
      case 'request':
        if (this.#query !== undefined && this.#query.named.length < maxNamedRequests)
          this.#query.named.push(`${message.method} ${message.path}`);
        break;
      case 'inFlight':
        this.#query?.result.resolve({ ...message, named: this.#query.named });
    }
  }

  #confirmRetirement(): void {
    // In another state, the message is from before the last `open`.
    if (this.state !== 'open') return;
    this.state = 'retired';
    this.#retired.resolve();
    if (this.isRetiring) return;
    // The worker has retired by itself.
    void this.retire(false);
    this.#options.listener.memoryExceeded(this);
  }

  #exited(exit: Exit): void {
    this.state = 'exited';
    this.#exitedAt = this.#options.clock.now();
    this.#channel?.close();
    this.#options.records.remove(this.pid);
    void this.output.processEnded();
    this.#opened.resolve();
    this.#retired.resolve();
    this.#drained.resolve();
    this.#options.listener.exited(this, exit);
  }

  /** Returns the time between `ready` and the exit, or until now, in ms; 0 if the worker never listened. */
  upFor(): number {
    if (this.#readyAt === undefined) return 0;
    return (this.#exitedAt ?? this.#options.clock.now()) - this.#readyAt;
  }

  get alive(): boolean {
    return this.state !== 'exited';
  }

  #post(message: ToWorker): void {
    this.#channel?.post(message);
  }

  /**
   * Lets the worker accept connections. May follow `retire` if a switch has failed.
   * @param wait true if the worker may not read from connections before `serve`
   * @returns false if the worker did not confirm in time
   */
  async open({ wait = false } = {}): Promise<boolean> {
    if (!this.alive) return true;
    if (this.state === 'retired' || this.state === 'drained') {
      this.#retired = Promise.withResolvers();
      this.#drained = Promise.withResolvers();
    }
    this.isRetiring = false;
    this.state = 'opening';
    this.#opened = Promise.withResolvers();
    this.#post({ type: 'open', wait });
    return isInTime(this.#opened.promise);
  }

  /** Lets a worker that was opened with `wait` read from its connections. */
  serve(): void {
    this.#post({ type: 'serve' });
  }

  /**
   * Lets the worker accept no more requests.
   * @param last true if no other worker takes over
   * @returns false if the worker did not confirm in time: its event loop stands still, and it may still get requests
   */
  async retire(last: boolean): Promise<boolean> {
    if (!this.isRetiring || last) this.#post({ type: 'retire', last });
    this.isRetiring = true;
    return isInTime(this.#retired.promise);
  }

  /** Lets a retired worker hand its idle connections to open workers, and close the ports besides the app's own. */
  handOff(): void {
    this.#post({ type: 'handOff' });
  }

  /** Records that the worker will not be opened again, so that later runners let it drain, too. */
  recordRetirement(): void {
    this.#options.records.noteRetired(this.pid);
  }

  /** Fulfilled when a retired worker has nothing in flight, or is gone. */
  get drained(): Promise<void> {
    return this.#drained.promise;
  }

  /** Asks the worker for its requests and connections in flight. @returns undefined if the worker does not answer in time */
  async inFlight(): Promise<InFlight | undefined> {
    this.#query ??= { named: [], result: Promise.withResolvers() };
    this.#post({ type: 'reportInFlight' });
    const outcome = await withDeadline(this.#query.result.promise, inFlightTimeout);
    this.#query = undefined;
    return outcome.timedOut ? undefined : outcome.value;
  }

  /** Sends the stop signal, once, and SIGKILL to the whole session after `killTimeout`. Fulfilled when the worker is gone. */
  end(): Promise<void> {
    if (!this.alive || this.pid === 0) return this.gone;
    this.#end ??= this.#stop();
    return this.#end;
  }

  async #stop(): Promise<void> {
    const { stopSignal, killTimeout } = this.#options;
    const options = { signal: stopSignal, killTimeout, gone: this.exited };
    const why = await endProcess(this.pid, options, this.#signal);
    if (why !== undefined) await this.#logEnd(why);
    await this.gone;
  }

  /** Kills the worker and its session. */
  kill(): void {
    this.isKilled = true;
    if (this.alive && this.pid !== 0) this.#signal(-this.pid, 'SIGKILL');
  }

  async #endLeftovers(): Promise<void> {
    if (this.pid === 0) return;
    const { killTimeout, endLeftovers } = this.#options;
    try {
      const killed = await endLeftovers(this.isKilled ? 0 : killTimeout);
      if (killed > 0 && !this.isKilled) await this.#logEnd(describeLeftovers(killed, killTimeout));
    } catch (error) {
      await this.#logEnd(`may have left processes behind: ${describeError(error)}`);
    }
  }

  /** Logs a line about the end of the worker, after the worker's own last lines. */
  async #logEnd(text: string): Promise<void> {
    await this.output.end();
    this.output.note(`worker ${this.instance} (pid ${this.pid}) ${text}`);
  }
}

async function isInTime(confirmed: Promise<void>): Promise<boolean> {
  return !(await withDeadline(confirmed, confirmTimeout)).timedOut;
}

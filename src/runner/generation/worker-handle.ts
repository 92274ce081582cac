import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { WorkerState } from '../../protocol/runner.ts';
import type { AppProtocol, FromWorker } from '../../protocol/worker.ts';
import { firstOf, withDeadline } from '../../system/concurrency/deadline.ts';
import { counted, formatDuration } from '../../system/text/format.ts';
import type { Allowance } from '../allowance.ts';
import { AppProcess, type ProcessOptions } from '../app-process.ts';
import type { Clock } from '../clock.ts';
import type { Exit } from '../exit.ts';
import type { Handoff } from '../handoff.ts';
import { Metrics } from '../metrics.ts';
import type { Responses } from '../watch/judge.ts';
import { Members, mostMembers } from './members.ts';
import { WorkerChannel } from './worker-channel.ts';

/** Time for a worker to open or to retire, in ms. A switch does not wait longer for a worker whose event loop stands still. */
export const confirmTimeout = 1000;
/** Time for a worker to write its compiled code, in ms: meanwhile, a switch would wait for it. */
const saveTimeout = 2000;
/** Time for a worker to report its requests in flight, in ms. */
const inFlightTimeout = 500;
/** Limit of the requests in flight that a worker may name. */
const maxNamedRequests = 20;

export type Ready = Extract<FromWorker, { type: 'ready' }>;
type InFlight = Extract<FromWorker, { type: 'inFlight' }>;
type Beat = Omit<Extract<FromWorker, { type: 'beat' }>, 'type'>;

export interface WorkerListener {
  /** called when a further process of an open exec worker has opened */
  joined(): void;
  /** called when the worker exceeds its memory limit, or retires by itself for that reason */
  memoryExceeded(worker: WorkerHandle): void;
  /** called with the responses of the worker since the last call */
  responded(responses: Responses): void;
  exited(worker: WorkerHandle, exit: Exit): void;
}

export interface WorkerOptions extends Omit<ProcessOptions, 'name'> {
  instance: number;
  /** socket between worker and runner; in exec mode the function that welcomes a process: see Members */
  channel: Duplex | ((socket: Socket, worker: number) => Promise<boolean>);
  /** proof of the processes of an exec worker */
  secret?: string;
  handoff: Handoff;
  /** `renewals` of the port when the worker got its copies of the socket */
  renewals: number;
  allowance: Allowance;
  listener: WorkerListener;
  clock: Clock;
}

/** Runner's view of one worker: its process, its state, and messages to it. The worker's own view is src/worker/worker.cjs. */
export class WorkerHandle extends AppProcess {
  readonly instance: number;
  readonly handoff: Handoff;
  /** see WorkerOptions */
  readonly renewals: number;
  /** fulfilled when the app listens; never if the app does not listen */
  readonly ready: Promise<Ready>;
  /** fulfilled when the app starts processes with node:cluster; never if the app does not */
  readonly forked: Promise<void>;
  /** current port of the app: an app may close its server and listen again */
  listening: Ready | undefined;
  /** protocol that the last health check has found; undefined before the first check */
  protocol: AppProtocol | undefined;
  state: WorkerState = 'booting';
  /** true between `retire` and the next `open`, even before the worker confirms */
  isRetiring = false;
  /** last port of an exec worker besides the app's own; undefined if there is none */
  otherPort: number | undefined;
  /** last heartbeat; undefined before the worker listens */
  beat: Beat | undefined;
  readonly metrics: Metrics;
  /** attended time since the last heartbeat, in ms: see tickRegularly */
  silentFor = 0;
  readonly #options: WorkerOptions;
  readonly #channel: Pick<WorkerChannel, 'post' | 'close'>;
  /** processes of an exec worker that listen; undefined for any other worker */
  readonly members: Members | undefined;
  readonly #ready = Promise.withResolvers<Ready>();
  readonly #forked = Promise.withResolvers<void>();
  #opened = Promise.withResolvers<void>();
  #retired = Promise.withResolvers<void>();
  #drained = Promise.withResolvers<void>();
  /** some of the requests in flight, such as `GET /path`, without the query */
  #named: string[] = [];
  #inFlight = Promise.withResolvers<InFlight>();
  readonly #saved = Promise.withResolvers<void>();
  #readyAt: number | undefined;
  #healthyAt: number | undefined;
  #exitedAt: number | undefined;
  #draining: Promise<void> | undefined;
  #isCounting = false;
  /**
   * Time since when other workers serve in place of this one, or none does. A worker that has retired by itself keeps its idle
   * connections until then, perhaps for longer than `drainTimeout`.
   */
  #replacedAt: number | undefined;

  constructor(options: WorkerOptions) {
    super({ ...options, name: `worker ${options.instance}` });
    this.#options = options;
    this.metrics = new Metrics(options.spec.log.secrets);
    this.instance = options.instance;
    this.handoff = options.handoff;
    this.renewals = options.renewals;
    this.ready = this.#ready.promise;
    this.forked = this.#forked.promise;
    const { channel, allowance, records } = options;
    const message = (received: FromWorker) => this.#receive(received);
    const refused = (why: 'wrote' | 'many' = 'wrote') => {
      if (why === 'many') return this.log(`has more than ${mostMembers} processes that listen`);
      this.log("wrote into Sluice's channel; Sluice ends the worker");
      this.kill();
    };
    if (typeof channel === 'function') {
      const welcome = (socket: Socket) => channel(socket, this.pid);
      const changed = (pids: number[]) => this.alive && records.noteMembers(this.pid, pids);
      const joined = () => this.state === 'open' && options.listener.joined();
      this.members = new Members({ allowance, welcome, changed, joined, message, refused });
      this.#channel = this.members;
      void this.gone.then(() => this.members?.disconnect());
    } else this.#channel = new WorkerChannel(channel, { allowance, message, refused });
  }

  /** Returns true if a process has proved by the secret that it belongs to this exec worker. */
  isOwner(secret: string): boolean {
    return this.members !== undefined && this.alive && secret === this.#options.secret;
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
      case 'responses':
        // A process of several may stand still.
        if (this.members === undefined) this.silentFor = 0;
        listener.responded(message);
        break;
      case 'memoryExceeded':
        this.figures.memoryBytes = message.bytes;
        listener.memoryExceeded(this);
        break;
      case 'forked':
        this.#forked.resolve();
        break;
      case 'besides':
        this.otherPort = message.port;
        break;
      case 'opened':
        if (this.state === 'opening') this.state = 'open';
        this.#opened.resolve();
        break;
      case 'saved':
        this.#saved.resolve();
        break;
      case 'retired':
        this.#confirmRetirement();
        break;
      case 'drained':
        if (this.state !== 'retired') break;
        this.state = 'drained';
        this.#drained.resolve();
        break;
      case 'metric':
        this.metrics.note(message);
        break;
      case 'request':
        if (this.#named.length < maxNamedRequests) this.#named.push(`${message.method} ${message.path}`);
        break;
      case 'inFlight':
        this.#inFlight.resolve(message);
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

  protected override postShutdown(): boolean {
    // A command without a Node.js process that listens gets the signal.
    if (this.members?.size === 0) return false;
    this.#channel.post({ type: 'shutdown' });
    return true;
  }

  protected override noteExit(exit: Exit): void {
    super.noteExit(exit);
    this.state = 'exited';
    this.#exitedAt = this.#options.clock.now();
    this.#channel.close();
    this.#opened.resolve();
    this.#retired.resolve();
    this.#drained.resolve();
    this.#saved.resolve();
    this.#options.listener.exited(this, exit);
  }

  /** Returns the time between `ready` and the exit, or until now, in ms; 0 if the worker never listened. */
  upFor(): number {
    if (this.#readyAt === undefined) return 0;
    return (this.#exitedAt ?? this.#options.clock.now()) - this.#readyAt;
  }

  /** Notes that the first health check has succeeded. */
  noteHealthy(): void {
    this.#healthyAt = this.#options.clock.now();
  }

  /** Returns the time since the first health check that has succeeded, in ms; 0 if none has. */
  healthyFor(): number {
    const now = this.#options.clock.now();
    return now - (this.#healthyAt ?? now);
  }

  /** Lets the worker write the compiled code of the app to the disk, and waits until it has, or does not answer in time. */
  async saveCompiled(): Promise<void> {
    this.#channel.post({ type: 'save' });
    await withDeadline(this.#saved.promise, saveTimeout);
  }

  /**
   * Lets the worker accept connections. May follow `retire`: if a switch has failed, and after `rest`. Fulfilled once the worker has confirmed, or
   * if it does not confirm in time.
   * @param wait true if the worker may not read from connections before `serve`
   */
  async open({ wait = false } = {}): Promise<void> {
    if (!this.alive) return;
    if (this.state === 'retired' || this.state === 'drained') {
      this.#retired = Promise.withResolvers();
      this.#drained = Promise.withResolvers();
    }
    this.isRetiring = false;
    this.#replacedAt = undefined;
    this.state = 'opening';
    this.#opened = Promise.withResolvers();
    this.#channel.post({ type: 'open', wait });
    await withDeadline(this.#opened.promise, confirmTimeout);
  }

  /** Lets a worker that was opened with `wait` read from its connections. */
  serve(): void {
    this.#channel.post({ type: 'serve' });
  }

  /** Lets the worker even out idle connections with its siblings, because a worker has joined. */
  evenOut(): void {
    this.#channel.post({ type: 'evenOut' });
  }

  /** Lets a worker that listens count its responses, or end the count. */
  count(on: boolean): void {
    if (on === this.#isCounting || this.listening === undefined || !this.alive) return;
    this.#isCounting = on;
    this.#channel.post({ type: 'count', on });
  }

  /**
   * Lets the worker accept no more requests.
   * @param last true if no other worker takes over
   * @returns false if the worker did not confirm in time: its event loop stands still, and it may still get requests
   */
  async retire(last: boolean): Promise<boolean> {
    if (!this.isRetiring || last) this.#channel.post({ type: 'retire', last });
    this.isRetiring = true;
    if (last) this.#noteReplaced();
    const { timedOut } = await withDeadline(this.#retired.promise, confirmTimeout);
    return !timedOut;
  }

  /**
   * Lets a retired worker hand its idle connections to open workers, and close the ports besides the app's own.
   * @param beforeSuccessor true if these workers start only after the end of this worker: the connections wait in the handoff
   * @param inboxes false if the generation does not retire: another worker takes from the inbox of the slot
   */
  handOff({ beforeSuccessor = false, inboxes = true } = {}): void {
    this.#noteReplaced();
    this.#channel.post({ type: 'handOff', beforeSuccessor, inboxes });
  }

  #noteReplaced(): void {
    this.#replacedAt ??= this.#options.clock.now();
  }

  /**
   * Lets a retired worker finish its requests, logs the requests that are cut, and ends the worker. Does so once: a replaced
   * worker may drain already when its generation drains.
   * @param drainTimeout ms
   * @param hurry ends the wait early
   * @param stay least time until the worker ends, in ms
   */
  drain(drainTimeout: number, hurry: AbortSignal, stay = 0): Promise<void> {
    this.#draining ??= this.#drain(drainTimeout, hurry, stay);
    return this.#draining;
  }

  /**
   * Lets a retired worker finish its requests, logs the requests that are cut, and keeps the worker: `open` may follow at any time,
   * and then nothing is cut.
   * @param drainTimeout ms
   * @param ended aborted if the worker is to end instead: `drain` follows
   */
  async rest(drainTimeout: number, ended: AbortSignal): Promise<void> {
    const drained = this.#drained;
    const hasOpened = () => drained !== this.#drained;
    await firstOf<unknown>([withDeadline(drained.promise, this.#timeLeft(drainTimeout))], [ended]);
    if (ended.aborted || hasOpened() || this.state !== 'retired') return;
    await this.#reportCuts('drainTimeout');
    if (!hasOpened()) this.#channel.post({ type: 'cut' });
  }

  /** Lets a retired worker, which never opens again, close its copies of the listening socket: it may answer requests for long. */
  leavePort(): void {
    this.#channel.post({ type: 'leavePort' });
  }

  /** True if the worker ends as soon as its requests are finished. */
  get isDraining(): boolean {
    return this.#draining !== undefined;
  }

  /** Returns the rest of `drainTimeout`, in ms. */
  #timeLeft(drainTimeout: number): number {
    return Math.max(0, drainTimeout - this.#replacedFor());
  }

  #replacedFor(): number {
    const now = this.#options.clock.now();
    return now - (this.#replacedAt ?? now);
  }

  async #drain(drainTimeout: number, hurry: AbortSignal, stay: number): Promise<void> {
    const { clock } = this.#options;
    const start = clock.now();
    // The worker will not be opened again, so later runners let it drain, too.
    this.#options.records.noteRetired(this.pid);
    const left = this.#timeLeft(drainTimeout);
    await firstOf<unknown>([withDeadline(this.#drained.promise, left)], [hurry]);
    if (this.alive && this.state !== 'drained')
      await this.#reportCuts(hurry.aborted ? 'maxDraining' : 'drainTimeout');
    const rest = start + stay - clock.now();
    // `hurry` ends this wait.
    if (rest > 0 && this.state === 'drained') await clock.sleep(rest, hurry).catch(() => undefined);
    await this.end();
  }

  /** Logs what is in flight, because it is cut now. @param setting the reason */
  async #reportCuts(setting: string): Promise<void> {
    const after = `${formatDuration(this.#replacedFor())} after the worker retired ("${setting}")`;
    this.#named = [];
    this.#inFlight = Promise.withResolvers<InFlight>();
    this.#channel.post({ type: 'reportInFlight' });
    const answer = await withDeadline(this.#inFlight.promise, inFlightTimeout);
    if (answer.timedOut) this.log(`is cut with what it had in flight: not finished ${after}`);
    else this.#logCuts(answer.value, after);
  }

  #logCuts({ requests, connections }: InFlight, after: string): void {
    for (const request of this.#named) this.log(`cuts ${request}: not answered ${after}`);
    const others = requests - this.#named.length;
    if (others > 0) this.log(`cuts ${counted(others, 'more request')}: not answered ${after}`);
    if (connections > 0)
      this.log(`cuts ${counted(connections, 'connection')} (WebSocket, HTTP/2 or the like): open ${after}`);
  }
}

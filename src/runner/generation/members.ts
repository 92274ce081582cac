import type { Socket } from 'node:net';
import type { FromWorker, ToWorker } from '../../protocol/worker.ts';
import type { Allowance } from '../allowance.ts';
import { WorkerChannel } from './worker-channel.ts';

/** Limit of the members of a worker. */
export const mostMembers = 64;
/** Cost of a new member, in bytes of the app's allowance: an app must not keep the runner busy with members that come and go. */
const joinCost = 16 * 1024;

type Ready = Extract<FromWorker, { type: 'ready' }>;
type Beat = Extract<FromWorker, { type: 'beat' }>;
type InFlight = Extract<FromWorker, { type: 'inFlight' }>;
/** Message that the worker sends once all its members have sent it. */
type Confirmation = 'opened' | 'retired' | 'drained';

interface MembersOptions {
  /** shared by all workers of the app */
  allowance: Allowance;
  /**
   * Sends a new member copies of the listening socket and the ends of the handoff. Returns false, or rejects, if the system refuses
   * that, or if the port is closed.
   */
  welcome(socket: Socket): Promise<boolean>;
  /** called with the pids of all members when they change: a member may name any pid */
  changed(pids: number[]): void;
  /** called when a process that has joined after the last `open` has opened */
  joined(): void;
  /** called with the messages of the worker as a whole */
  message(message: FromWorker): void;
  /** called if a member has sent anything but a message, or if the app has too many members */
  refused(why: 'wrote' | 'many'): void;
}

/** Node.js process of an exec worker that listens. */
interface Member {
  pid: number;
  channel: WorkerChannel;
  ready: Ready | undefined;
  /** last heartbeat; undefined if it has been counted */
  beat: Beat | undefined;
  inFlight: InFlight | undefined;
  /** true if it has joined after the last `open`, and has not opened yet */
  isLate: boolean;
  /** confirmations that are due */
  due: Set<Confirmation>;
}

/**
 * Runner's view of the processes of an exec worker that listen. Together they act as one worker: `post` sends a message to each, and
 * the worker confirms once all of them have confirmed. The worker is ready with its first member. A process that joins later gets
 * the last `open`; none joins a retired worker. The worker's own view is src/worker/member.cjs.
 */
export class Members {
  readonly #options: MembersOptions;
  readonly #members = new Set<Member>();
  /** connections of processes that are joining, and of all members, with the pids that they have named */
  readonly #sockets = new Map<Socket, number>();
  #last: Extract<ToWorker, { type: 'open' | 'retire' }> | undefined;
  /** member whose port the worker has reported */
  #reported: Member | undefined;
  #unconfirmed = new Set<Confirmation>();
  #isReportDue = false;
  #isCounting = false;
  #isClosed = false;
  #isFull = false;

  constructor(options: MembersOptions) {
    this.#options = options;
  }

  /** True if a member listens on the app's port. */
  get listens(): boolean {
    return this.#reported !== undefined;
  }

  /** Pids of the members and of processes that are joining, as they have named them. */
  get pids(): number[] {
    return [...this.#sockets.values()];
  }

  get size(): number {
    return this.#sockets.size;
  }

  /**
   * Accepts the connection of a process that has proved to belong to the worker. Closes it if the process cannot join now: the
   * process tries again.
   */
  async join(socket: Socket, pid: number): Promise<void> {
    const { allowance, welcome, refused } = this.#options;
    const now = performance.now();
    const isMany = this.#sockets.size >= mostMembers;
    if (isMany && !this.#isFull) refused('many');
    this.#isFull ||= isMany;
    if (this.#isShut || isMany || allowance.take(0, now) > 0) return void socket.destroy();
    allowance.take(joinCost, now);
    this.#sockets.set(socket, pid);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.pause();
    const isWelcome = await welcome(socket).catch(() => false);
    if (!isWelcome || this.#isShut || socket.destroyed) return void socket.destroy();
    const channel = new WorkerChannel(socket, {
      allowance,
      message: (message) => this.#receive(member, message),
      refused: () => refused('wrote'),
    });
    const member: Member = {
      ...{ pid, channel, ready: undefined, beat: undefined, inFlight: undefined },
      isLate: this.#last?.type === 'open',
      due: new Set(),
    };
    this.#members.add(member);
    this.#noteChange();
    socket.once('close', () => this.#leave(member));
    if (this.#last?.type === 'open') channel.post(this.#last);
    if (this.#isCounting) channel.post({ type: 'count', on: true });
    socket.resume();
  }

  /** True if a member has retired since the last `retire`. */
  get hasRetired(): boolean {
    return this.#last?.type === 'retire' && [...this.#members].some(({ due }) => !due.has('retired'));
  }

  /** True if no process can join: after a failed switch, `open` follows `retire`. */
  get #isShut(): boolean {
    return this.#isClosed || this.#last?.type === 'retire';
  }

  #leave(member: Member): void {
    this.#members.delete(member);
    if (this.#isClosed) return;
    this.#noteChange();
    this.#reportPort();
    this.#confirm();
    this.#reportInFlight();
    this.#reportBeat();
  }

  #noteChange(): void {
    this.#options.changed([...this.#members].map(({ pid }) => pid));
  }

  post(message: ToWorker): void {
    const { type } = message;
    if (type === 'open' || type === 'retire') this.#last = message;
    if (type === 'serve' && this.#last?.type === 'open') this.#last = { type: 'open', wait: false };
    if (type === 'open') this.#expect('opened');
    if (type === 'retire') {
      // A worker has opened before it retires, although some members may confirm that later.
      if (this.#unconfirmed.has('opened')) this.#options.message({ type: 'opened' });
      this.#expect('retired', 'drained');
    }
    if (type === 'count') this.#isCounting = message.on;
    if (type === 'reportInFlight') this.#isReportDue = true;
    for (const { channel } of this.#members) channel.post(message);
    // The worker may have no members, for example while its command starts the app again.
    queueMicrotask(() => {
      this.#confirm();
      this.#reportInFlight();
    });
  }

  #expect(...confirmations: Confirmation[]): void {
    this.#unconfirmed = new Set(confirmations);
    for (const member of this.#members) {
      member.due = new Set(confirmations);
      member.isLate = false;
    }
  }

  /** Ends the part of the runner. The members keep their connections: they live until the end of their worker. */
  close(): void {
    this.#isClosed = true;
    this.#members.clear();
  }

  disconnect(): void {
    this.close();
    for (const socket of this.#sockets.keys()) socket.destroy();
  }

  #receive(member: Member, message: FromWorker): void {
    if (this.#isClosed) return;
    switch (message.type) {
      case 'ready':
        member.ready = message;
        member.beat ??= { type: 'beat', eventLoopDelayMs: 0, connections: 0, requests: 0 };
        if (member === this.#reported) this.#options.message(message);
        else this.#reportPort();
        break;
      case 'beat':
        member.beat = message;
        this.#reportBeat();
        break;
      case 'opened':
      case 'retired':
      case 'drained':
        member.due.delete(message.type);
        this.#confirm();
        if (member.isLate && message.type === 'opened') {
          member.isLate = false;
          this.#options.joined();
        }
        break;
      case 'inFlight':
        member.inFlight = message;
        this.#reportInFlight();
        break;
      case 'memoryExceeded':
        // The memory of all processes counts, and the runner measures it.
        break;
      default:
        this.#options.message(message);
    }
  }

  #reportPort(): void {
    if (this.#reported !== undefined && this.#members.has(this.#reported)) return;
    this.#reported = [...this.#members].find(({ ready }) => ready !== undefined);
    if (this.#reported?.ready !== undefined) this.#options.message(this.#reported.ready);
  }

  #confirm(): void {
    if (this.#isClosed) return;
    for (const type of this.#unconfirmed) {
      if ([...this.#members].some(({ due }) => due.has(type))) continue;
      this.#unconfirmed.delete(type);
      this.#options.message({ type });
    }
  }

  #reportInFlight(): void {
    const all = [...this.#members];
    if (this.#isClosed || !this.#isReportDue || all.some(({ inFlight }) => inFlight === undefined)) return;
    this.#isReportDue = false;
    const sum = (of: 'requests' | 'connections') =>
      all.reduce((total, { inFlight }) => total + (inFlight?.[of] ?? 0), 0);
    this.#options.message({ type: 'inFlight', requests: sum('requests'), connections: sum('connections') });
  }

  /** Reports a heartbeat of the worker once each member that listens has sent one: a worker is stuck if one of them is. */
  #reportBeat(): void {
    const listening = [...this.#members].filter(({ ready }) => ready !== undefined);
    const beats = listening.flatMap(({ beat }) => beat ?? []);
    if (this.#isClosed || beats.length === 0 || beats.length < listening.length) return;
    for (const member of listening) member.beat = undefined;
    this.#options.message({
      type: 'beat',
      eventLoopDelayMs: Math.max(...beats.map(({ eventLoopDelayMs }) => eventLoopDelayMs)),
      connections: beats.reduce((total, { connections }) => total + connections, 0),
      requests: beats.reduce((total, { requests }) => total + requests, 0),
    });
  }
}

import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FromOrphan, MemberGreeting, ToOrphan } from '../../protocol/worker.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { processStartTime } from '../../system/process/processes.ts';
import { LineSplitter, parseObject } from '../../system/text/lines.ts';
import { mostMembers } from '../generation/members.ts';
import { confirmTimeout } from '../generation/worker-handle.ts';
import type { Handoff } from '../handoff.ts';
import type { ProcessRecord, ProcessRecords } from './process-records.ts';
import { sendHandles } from './send-handle.ts';

/** Time for an orphan to report, and to retire, in ms: it tries five times a second. */
export const reportsWithin = 3000;
/** Time for a connection to identify its worker, in ms: any local process may connect. */
const identifiesWithin = 2000;
/** Limit of connections that have not identified their worker. At the limit, the oldest is closed. */
const maxStrangers = 200;
/** Limit of the unread bytes of a connection, and of its messages: orphans send less. */
const maxBytes = 4096;
const maxMessages = 20;
/**
 * Limit of sends over one connection. After that the runner disconnects the orphan, which connects again: a socket holds the
 * unread messages of twice as many sends, and a write that waits for space would never end.
 */
const maxSends = 50;
/** Time after which an orphan that lacks a handoff gets it again, in ms. */
const resendPause = 500;

type Report = Extract<FromOrphan, { type: 'orphan' }>;

/** Worker of an earlier runner, or a process of an exec worker, that serves until it is retired. */
class Orphan {
  readonly key: string;
  /** of the worker */
  readonly pid: number;
  /** pid of the process of an exec worker */
  readonly member: number | undefined;
  readonly socket: Socket;
  hasRetired = false;
  /** true once a process of an exec worker may be ended */
  isDrained = false;
  readonly #retired = Promise.withResolvers<void>();
  /** handoff that was sent last; not sent again unless it is forgotten */
  sentHandoff: Handoff | undefined;
  /** fulfilled when all messages are written */
  #sending: Promise<void> = Promise.resolve();
  #sends = 0;

  constructor({ key, pid, member }: Report, socket: Socket) {
    this.key = key;
    this.pid = pid;
    this.member = member;
    this.socket = socket;
    socket.on('close', () => this.#retired.resolve());
  }

  noteRetired(): void {
    this.hasRetired = true;
    this.#retired.resolve();
  }

  /** Retires the orphan, and waits until it confirms or is gone, for a second at most. */
  async retire(successor: Handoff | undefined): Promise<void> {
    this.#sends += 1;
    if (this.#sends > maxSends) this.socket.destroy();
    // One after the other: a `retire` belongs to the `handoff` before it.
    this.#sending = this.#sending.then(() => this.#send(successor)).catch(() => void this.socket.destroy());
    await withDeadline(this.#retired.promise, confirmTimeout);
  }

  async #send(successor: Handoff | undefined): Promise<void> {
    if (successor === undefined) {
      this.socket.write(lineOf({ type: 'retire', last: true }));
      return;
    }
    if (successor === this.sentHandoff) return;
    this.sentHandoff = successor;
    const retire = lineOf({ type: 'retire', handoff: successor.id });
    // With the end to take from, the orphan sees when others have taken its connections.
    const isSent = await sendHandles(this.socket, [
      { text: lineOf({ type: 'handoff' }), sent: successor.take },
      { text: retire, sent: successor.give },
    ]);
    // The orphan retires at once, and then asks for the handoff.
    if (!isSent) this.socket.write(retire);
  }
}

/**
 * Orphans of all environments: they report here when their runner is gone, and get the message to retire. A signal would reach
 * the app's own handler, which might end the process at once.
 */
export class Orphans {
  /** by pid: one connection for each, so that an app cannot use up the runner's descriptors; see `nameOf` */
  readonly #orphans = new Map<string, Orphan>();
  readonly #server: Server;
  readonly #records: ProcessRecords;
  readonly #successor: (key: string) => Handoff | undefined;
  readonly #join: (greeting: MemberGreeting, socket: Socket) => boolean;
  /** connections that have not identified their worker, the oldest first */
  readonly #strangers = new Set<Socket>();

  /**
   * @param records of the workers that earlier runners have started
   * @param successor returns the handoff of the generation of this runner that has the traffic of an environment
   * @param join gives a connection to the exec worker of this runner that it belongs to; returns false if there is none
   */
  constructor(
    records: ProcessRecords,
    successor: (key: string) => Handoff | undefined,
    join: (greeting: MemberGreeting, socket: Socket) => boolean = () => false,
  ) {
    this.#records = records;
    this.#successor = successor;
    this.#join = join;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Listens on a path, which must not exist. @param open true if processes of other users may connect */
  async listen(path: string, { open }: { open: boolean }): Promise<void> {
    this.#server.listen({ path, readableAll: open, writableAll: open });
    await once(this.#server, 'listening');
    // The system has no descriptor or memory for a connection: a worker connects again.
    this.#server.on('error', () => undefined);
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.#orphans.values()) socket.destroy();
    for (const socket of this.#strangers) socket.destroy();
  }

  /**
   * Returns the state that an orphan has reported. An exec worker has retired once all its processes have.
   * @throws the error of the system if descriptors or memory are short
   */
  stateOf(pid: number): 'unknown' | 'serving' | 'retired' {
    const ofWorker = this.#ofWorker(pid);
    if (ofWorker.length === 0) return 'unknown';
    if (ofWorker.some(({ hasRetired }) => !hasRetired)) return 'serving';
    const record = this.#records.get(pid);
    return record !== undefined && !this.#isComplete(record, ofWorker) ? 'unknown' : 'retired';
  }

  /** Returns true if an exec worker may be ended: each of its processes that lives has reported that it is drained. */
  isDrained(record: ProcessRecord): boolean {
    const ofWorker = this.#ofWorker(record.pid);
    return (
      record.exec === true &&
      ofWorker.every(({ isDrained }) => isDrained) &&
      this.#isComplete(record, ofWorker)
    );
  }

  #ofWorker(pid: number): Orphan[] {
    return [...this.#orphans.values()].filter((orphan) => orphan.pid === pid);
  }

  /** Returns true if all processes of an exec worker that live have reported. */
  #isComplete({ members = [] }: ProcessRecord, reported: Orphan[]): boolean {
    const left = members.filter((pid) => !reported.some(({ member }) => member === pid));
    return left.every((pid) => processStartTime(pid) === undefined);
  }

  /**
   * Waits until all orphans of an environment have reported: they may not have had the time yet. A worker whose event loop
   * stands still, or that is about to end, never reports.
   */
  async gather(key: string): Promise<void> {
    const latest = performance.now() + reportsWithin;
    while (performance.now() < latest) {
      const left = await this.#records.ofEarlierRunners('worker', key);
      const hasReported = (record: ProcessRecord) =>
        record.exec
          ? this.#isComplete(record, this.#ofWorker(record.pid))
          : this.stateOf(record.pid) !== 'unknown';
      if (left.every(hasReported)) return;
      await sleep(20);
    }
  }

  /** Returns true if some orphans of an environment accept requests. */
  serving(key: string): boolean {
    return this.#of(key).some(({ hasRetired }) => !hasRetired);
  }

  /**
   * Retires the orphans of an environment, and waits until they confirm. They end by themselves when drained.
   * @param successor handoff for their idle connections; undefined if the app stops
   */
  async retire(key: string, successor?: Handoff): Promise<void> {
    await Promise.all(this.#of(key).map((orphan) => orphan.retire(successor)));
  }

  #of(key: string): Orphan[] {
    return [...this.#orphans.values()].filter((orphan) => orphan.key === key);
  }

  /** Retires one orphan if a generation of this runner has the traffic. */
  #retireIfReplaced(orphan: Orphan): void {
    const successor = this.#successor(orphan.key);
    if (successor !== undefined) void orphan.retire(successor);
  }

  #accept(socket: Socket): void {
    let orphan: Orphan | undefined;
    // A worker that dies resets the connection, and 'close' follows.
    socket.on('error', () => undefined);
    this.#strangers.add(socket);
    const timer = setTimeout(() => this.#strangers.has(socket) && socket.destroy(), identifiesWithin);
    if (this.#strangers.size > maxStrangers) [...this.#strangers][0]?.destroy();
    const stopReading = onMessages(socket, (message) => {
      if (message.type === 'retired' && orphan !== undefined) {
        if (!orphan.hasRetired) this.#noteRetired(orphan);
        if (message.lacksHandoff) this.#resendLater(orphan);
      } else if (message.type === 'drained' && orphan !== undefined) {
        orphan.isDrained = true;
      } else if (message.type === 'member' && orphan === undefined) {
        this.#strangers.delete(socket);
        // A member sends nothing more until it has an answer.
        if (!stopReading() || !isGreeting(message) || !this.#join(message, socket)) socket.destroy();
      } else if (message.type === 'orphan' && orphan === undefined && this.#isGenuine(message)) {
        this.#strangers.delete(socket);
        this.#orphans.get(nameOf(message))?.socket.destroy();
        orphan = new Orphan(message, socket);
        this.#orphans.set(nameOf(message), orphan);
        this.#retireIfReplaced(orphan);
      } else socket.destroy();
    });
    socket.on('close', () => {
      clearTimeout(timer);
      this.#strangers.delete(socket);
      if (orphan && this.#orphans.get(nameOf(orphan)) === orphan) this.#orphans.delete(nameOf(orphan));
    });
  }

  #noteRetired(orphan: Orphan): void {
    orphan.noteRetired();
    try {
      if (this.stateOf(orphan.pid) === 'retired') this.#records.noteRetired(orphan.pid);
    } catch {
      // Without a free descriptor, the record stays as it is, and the time of the report counts: see end-orphans.ts.
    }
  }

  #resendLater(orphan: Orphan): void {
    setTimeout(() => {
      orphan.sentHandoff = undefined;
      this.#retireIfReplaced(orphan);
    }, resendPause).unref();
  }

  /** Returns true if a report has the secret of its worker; false also if the record cannot be read: an orphan reports again. */
  #isGenuine({ key, pid, secret, member }: Report): boolean {
    try {
      const record = this.#records.get(pid);
      if (record?.kind !== 'worker' || record.pid !== pid || record.key !== key) return false;
      if (record.exec ? !isPid(member) || this.#ofWorker(pid).length > mostMembers : member !== undefined)
        return false;
      return record.secret !== undefined && record.secret === secret;
    } catch {
      return false;
    }
  }
}

/** Returns the key of an orphan, or of a process of an exec worker. */
function nameOf({ pid, member }: { pid: number; member?: number | undefined }): string {
  return member === undefined ? String(pid) : `${pid} ${member}`;
}

function isPid(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function isGreeting({ key, secret, pid }: MemberGreeting): boolean {
  return typeof key === 'string' && typeof secret === 'string' && isPid(pid);
}

function lineOf(message: ToOrphan): string {
  return `${JSON.stringify(message)}\n`;
}

/**
 * Reads messages, and disconnects a peer that sends too many or anything else.
 * @returns function that ends the reading; it returns false if bytes have arrived after the last message
 */
function onMessages(socket: Socket, receive: (message: FromOrphan | MemberGreeting) => void): () => boolean {
  const splitter = new LineSplitter();
  let count = 0;
  const read = (chunk: Buffer) => {
    if (splitter.restLength + chunk.length > maxBytes) return void socket.destroy();
    // Messages are ASCII.
    const lines = [...splitter.push(chunk.toString('latin1'))];
    for (const [index, line] of lines.entries()) {
      const message = parseObject<FromOrphan>(line);
      count += 1;
      if (message === undefined || count > maxMessages) return void socket.destroy();
      isLast = index === lines.length - 1;
      receive(message);
      if (socket.destroyed) return;
    }
  };
  let isLast = true;
  socket.on('data', read);
  return () => {
    socket.off('data', read);
    return isLast && splitter.restLength === 0;
  };
}

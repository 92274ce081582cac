import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FromOrphan, ToOrphan } from '../../protocol/worker.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { LineSplitter, parseObject } from '../../system/text/lines.ts';
import { confirmTimeout } from '../generation/worker-handle.ts';
import type { Handoff } from '../handoff.ts';
import type { ProcessRecords } from './process-records.ts';
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

/** Worker of an earlier runner that serves until it is retired. */
class Orphan {
  readonly key: string;
  readonly pid: number;
  readonly socket: Socket;
  hasRetired = false;
  readonly #retired = Promise.withResolvers<void>();
  /** handoff that was sent last; not sent again unless it is forgotten */
  sentHandoff: Handoff | undefined;
  /** fulfilled when all messages are written */
  #sending: Promise<void> = Promise.resolve();
  #sends = 0;

  constructor(key: string, pid: number, socket: Socket) {
    this.key = key;
    this.pid = pid;
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
  /** by pid: one connection for each, so that an app cannot use up the runner's descriptors */
  readonly #orphans = new Map<number, Orphan>();
  readonly #server: Server;
  readonly #records: ProcessRecords;
  readonly #successor: (key: string) => Handoff | undefined;
  /** connections that have not identified their worker, the oldest first */
  readonly #strangers = new Set<Socket>();

  /**
   * @param records of the workers that earlier runners have started
   * @param successor returns the handoff of the generation of this runner that has the traffic of an environment
   */
  constructor(records: ProcessRecords, successor: (key: string) => Handoff | undefined) {
    this.#records = records;
    this.#successor = successor;
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

  /** Returns the state that an orphan has reported. */
  stateOf(pid: number): 'unknown' | 'serving' | 'retired' {
    const orphan = this.#orphans.get(pid);
    if (orphan === undefined) return 'unknown';
    return orphan.hasRetired ? 'retired' : 'serving';
  }

  /**
   * Waits until all orphans of an environment have reported: they may not have had the time yet. A worker whose event loop
   * stands still, or that is about to end, never reports.
   */
  async gather(key: string): Promise<void> {
    const latest = performance.now() + reportsWithin;
    while (performance.now() < latest) {
      const left = await this.#records.ofEarlierRunners('worker', key);
      if (left.every(({ pid }) => this.stateOf(pid) !== 'unknown')) return;
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
    onMessages(socket, (message) => {
      if (message.type === 'retired' && orphan !== undefined) {
        orphan.noteRetired();
        this.#records.noteRetired(orphan.pid);
        if (message.lacksHandoff) this.#resendLater(orphan);
      } else if (message.type === 'orphan' && orphan === undefined && this.#isGenuine(message)) {
        this.#strangers.delete(socket);
        this.#orphans.get(message.pid)?.socket.destroy();
        orphan = new Orphan(message.key, message.pid, socket);
        this.#orphans.set(message.pid, orphan);
        this.#retireIfReplaced(orphan);
      } else socket.destroy();
    });
    socket.on('close', () => {
      clearTimeout(timer);
      this.#strangers.delete(socket);
      if (orphan && this.#orphans.get(orphan.pid) === orphan) this.#orphans.delete(orphan.pid);
    });
  }

  #resendLater(orphan: Orphan): void {
    setTimeout(() => {
      orphan.sentHandoff = undefined;
      this.#retireIfReplaced(orphan);
    }, resendPause).unref();
  }

  /** Returns true if a report has the secret of its worker; false also if the record cannot be read: an orphan reports again. */
  #isGenuine({ key, pid, secret }: Extract<FromOrphan, { type: 'orphan' }>): boolean {
    try {
      const record = this.#records.get(pid);
      if (record?.kind !== 'worker' || record.pid !== pid || record.key !== key) return false;
      return record.secret !== undefined && record.secret === secret;
    } catch {
      return false;
    }
  }
}

function lineOf(message: ToOrphan): string {
  return `${JSON.stringify(message)}\n`;
}

/** Reads messages, and disconnects a peer that sends too many or anything else. */
function onMessages(socket: Socket, receive: (message: FromOrphan) => void): void {
  const splitter = new LineSplitter();
  let count = 0;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    if (splitter.restLength + chunk.length > maxBytes) return void socket.destroy();
    for (const line of splitter.push(chunk)) {
      const message = parseObject<FromOrphan>(line);
      count += 1;
      if (message === undefined || count > maxMessages) return void socket.destroy();
      receive(message);
      if (socket.destroyed) return;
    }
  });
}

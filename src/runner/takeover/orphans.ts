import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FromOrphan, ToOrphan } from '../../protocol/worker.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { gateTimeout } from '../generation/worker-handle.ts';
import type { Handoff } from '../handoff.ts';
import type { ProcessRecord, ProcessRecords } from './process-records.ts';
import { sendHandles } from './send-handle.ts';

/** A worker of an earlier runner that goes on serving until it is retired. */
interface Orphan {
  key: string;
  pid: number;
  socket: Socket;
  retired: PromiseWithResolvers<void>;
  hasRetired: boolean;
  /** handoff that was sent last */
  handoff: Handoff | undefined;
  /** fulfilled when all messages to it are written */
  sending: Promise<void>;
  /** number of sends so far */
  sends: number;
}

/** How long one may take to report, and to retire, in ms: it tries five times a second. */
export const reportsWithin = 3000;
/** How long who has connected may take to say who it is, in ms: anybody on this machine may connect. */
const introducedWithin = 2000;
/** How many may be about to; the oldest gives way. */
const mayBeStrangers = 200;
/** More than all that an orphan has to say, in bytes. */
const longest = 4096;
/** More messages than an orphan has for one runner. */
const mostMessages = 20;
/**
 * Most sends over one connection. After that the runner disconnects the orphan, which connects again: a socket holds the unread
 * messages of twice as many sends, and a write that waits for space would never end.
 */
const mostSends = 50;
/** Time after which an orphan that lacks a handoff gets it again, in ms. */
const resendPause = 500;

/**
 * Where workers report whose runner is gone. They serve on, and are told to retire through here when a fresh
 * generation takes their place: never by a signal, which the app's own handler would answer by ending at once.
 */
export class Orphans {
  readonly #orphans = new Set<Orphan>();
  readonly #server: Server;
  readonly #records: ProcessRecords;
  readonly #successor: (key: string) => Handoff | undefined;
  /** those that have not said who they are, the oldest first */
  readonly #strangers = new Set<Socket>();

  /**
   * @param records of the workers that earlier runners have started
   * @param successor the handoff of the generation of this runner that has already taken over for `key`
   */
  constructor(records: ProcessRecords, successor: (key: string) => Handoff | undefined) {
    this.#records = records;
    this.#successor = successor;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Where nothing is. @param open whether it is for other users than ours, too */
  async listen(path: string, { open }: { open: boolean }): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ path, readableAll: open, writableAll: open }, resolve);
    });
    // The system has no descriptor or memory for a connection: a worker connects again.
    this.#server.on('error', () => undefined);
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.#orphans) socket.destroy();
    for (const socket of this.#strangers) socket.destroy();
  }

  /** Returns the state that an orphan has reported. */
  stateOf(pid: number): 'unknown' | 'serving' | 'retired' {
    const orphan = [...this.#orphans].find((each) => each.pid === pid);
    if (orphan === undefined) return 'unknown';
    return orphan.hasRetired ? 'retired' : 'serving';
  }

  /**
   * Waits until all workers of `key` that an earlier runner has left have reported: they may not have had the time yet. A worker
   * whose event loop stands still, or that is about to end, never reports.
   * @param ours pids of our own workers
   */
  async gather(key: string, ours: () => ReadonlySet<number>): Promise<void> {
    const latest = performance.now() + reportsWithin;
    while (performance.now() < latest) {
      const known = new Set([...this.#orphans].map(({ pid }) => pid));
      const left = await this.#records.left('worker', key, ours());
      if (left.every(({ pid }) => known.has(pid))) return;
      await sleep(20);
    }
  }

  /** Returns true if some orphans of `key` still accept requests. */
  serving(key: string): boolean {
    return [...this.#orphans].some((orphan) => orphan.key === key && !orphan.hasRetired);
  }

  /**
   * Retires the orphans of `key`, and waits until they confirm. They end by themselves when drained.
   * @param successor handoff for their idle connections; undefined if the app stops
   */
  async retire(key: string, successor?: Handoff): Promise<void> {
    const concerned = [...this.#orphans].filter((orphan) => orphan.key === key);
    await Promise.all(concerned.map((orphan) => this.#retire(orphan, successor)));
  }

  async #retire(orphan: Orphan, successor: Handoff | undefined): Promise<void> {
    orphan.sends += 1;
    if (orphan.sends > mostSends) orphan.socket.destroy();
    // One after the other: a `retire` belongs to the `handoff` before it.
    orphan.sending = orphan.sending
      .then(() => this.#send(orphan, successor))
      .catch(() => void orphan.socket.destroy());
    await withDeadline(orphan.retired.promise, gateTimeout);
  }

  async #send(orphan: Orphan, successor: Handoff | undefined): Promise<void> {
    const { socket } = orphan;
    if (successor === undefined) {
      socket.write(lineOf({ type: 'retire', last: true }));
      return;
    }
    if (successor === orphan.handoff) return;
    orphan.handoff = successor;
    const retire = lineOf({ type: 'retire', handoff: successor.id });
    // An orphan needs the end to take from, to see when others have taken its connections.
    const isSent = await sendHandles(socket, [
      { text: lineOf({ type: 'handoff' }), sent: successor.take },
      { text: retire, sent: successor.give },
    ]);
    // The orphan retires at once, and then asks for the handoff.
    if (!isSent) socket.write(retire);
  }

  #resendLater(orphan: Orphan): void {
    const resend = () => {
      orphan.handoff = undefined;
      const successor = this.#successor(orphan.key);
      if (successor !== undefined) void this.#retire(orphan, successor);
    };
    setTimeout(resend, resendPause).unref();
  }

  #accept(socket: Socket): void {
    let orphan: Orphan | undefined;
    // A worker that dies resets the connection; its 'close' follows and says all there is to know.
    socket.on('error', () => undefined);
    this.#strangers.add(socket);
    const timer = setTimeout(() => this.#strangers.has(socket) && socket.destroy(), introducedWithin);
    if (this.#strangers.size > mayBeStrangers) [...this.#strangers][0]?.destroy();
    const hear = (message: FromOrphan) => {
      if (message.type === 'retired' && orphan !== undefined) {
        orphan.hasRetired = true;
        this.#records.noteRetired(orphan.pid);
        orphan.retired.resolve();
        if (message.lacksHandoff) this.#resendLater(orphan);
      } else if (message.type === 'orphan' && orphan === undefined && this.#isKnown(message)) {
        this.#strangers.delete(socket);
        const { key, pid } = message;
        // One connection for each orphan: an app must not take descriptors of the runner at will.
        for (const former of this.#orphans) if (former.pid === pid) former.socket.destroy();
        const retired = Promise.withResolvers<void>();
        const sending = Promise.resolve();
        orphan = { key, pid, socket, retired, hasRetired: false, handoff: undefined, sending, sends: 0 };
        this.#orphans.add(orphan);
        const successor = this.#successor(key);
        if (successor !== undefined) void this.#retire(orphan, successor);
      } else socket.destroy();
    };
    onMessages(socket, hear);
    socket.on('close', () => {
      clearTimeout(timer);
      this.#strangers.delete(socket);
      if (orphan === undefined) return;
      this.#orphans.delete(orphan);
      orphan.retired.resolve();
    });
  }

  /** Whether it is the worker that it says it is: nobody else has been told its secret. */
  #isKnown({ key, pid, secret }: Extract<FromOrphan, { type: 'orphan' }>): boolean {
    const record = Number.isSafeInteger(pid) ? this.#recordOf(pid) : undefined;
    if (record?.kind !== 'worker' || record.key !== key) return false;
    return record.secret !== undefined && record.secret === secret;
  }

  /** Returns the record; undefined also if it cannot be read, for example without a free descriptor. An orphan reports again. */
  #recordOf(pid: number): ProcessRecord | undefined {
    try {
      return this.#records.get(pid);
    } catch {
      return undefined;
    }
  }
}

function lineOf(message: ToOrphan): string {
  return `${JSON.stringify(message)}\n`;
}

/** Who sends what is no message, or too much, is hung up on. */
function onMessages(socket: Socket, hear: (message: FromOrphan) => void): void {
  let text = '';
  let heard = 0;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    if (text.length > longest) return void socket.destroy();
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      const message = parse(line);
      heard += 1;
      if (message === undefined || heard > mostMessages) return void socket.destroy();
      hear(message);
      if (socket.destroyed) return;
    }
  });
}

function parse(line: string): FromOrphan | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null && 'type' in message
      ? (message as FromOrphan)
      : undefined;
  } catch {
    return undefined;
  }
}

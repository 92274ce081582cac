import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { AppLog } from '../../logs/app-log.ts';
import type { Framer } from '../../logs/framer.ts';
import type { Allowance } from '../allowance.ts';

/**
 * What is read at a time, for all streams in turn: each chunk is taken out of it before the next one is read. With what
 * a framer holds it comes to 64 KiB, the most that is lost of a stream when we are killed.
 */
const chunk = Buffer.allocUnsafe(48 * 1024);
/**
 * How long a stream that is not in a hurry is left alone, in ms: a line at a time costs twenty times as much. The slower
 * it fills, the longer; who suddenly prints more than a pipe takes waits for us so long, once.
 */
const breather = { shortest: 10, longest: 30 };
/** What may come meanwhile if it goes on as before, in bytes: a pipe takes 64 KiB, and then its writer waits. */
const expected = 16 * 1024;
/** A line that has begun is shown after this long although its end has not come, in ms. */
const patience = 1000;

/**
 * Cost of a millisecond of our time, in bytes of an allowance: output that takes long to mask is read more slowly. One
 * chunk costs no more than so many milliseconds, since other processes may have had the processor.
 */
const timeCost = { perMs: 64 * 1024, most: 16 };

/** Carries what comes out of a FIFO into the log of the app: the next chunk is read when the last one is written. */
export class Capture {
  /** fulfilled when nobody can write any more and all is in the log; rejected where it cannot be read */
  readonly ended: Promise<void>;
  readonly #log: AppLog;
  readonly #framer: Framer;
  readonly #seen: (text: string) => void;
  readonly #allowance: Allowance;
  readonly #limited: () => void;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();
  #stopped = false;
  #waitsSince: number | undefined;
  /** when the last chunk was read, on a clock that only goes forward */
  #readAt = performance.now();

  /**
   * @param fifo its path; where nobody has it open for writing any more, its end is found at once
   * @param allowance of the app, in bytes; what exceeds the allowance stays in the FIFO, and its writer waits
   * @param on `seen` gets each chunk, bytes as latin1; `limited` is called when the allowance is used up
   */
  constructor(
    fifo: string,
    log: AppLog,
    framer: Framer,
    allowance: Allowance,
    on: { seen: (text: string) => void; limited: () => void },
  ) {
    this.#log = log;
    this.#framer = framer;
    this.#seen = on.seen;
    this.#allowance = allowance;
    this.#limited = on.limited;
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.#socket = new Socket({
      fd: openFifo(fifo),
      readable: true,
      writable: false,
      onread: { buffer: chunk, callback: (length) => this.#receive(length) },
    });
    this.#socket.on('end', () => {
      clearTimeout(this.#timer);
      this.#socket.destroy();
      void this.#write(framer.end(new Date())).then(ended.resolve);
    });
    this.#socket.on('error', ended.reject);
    this.#socket.resume();
  }

  /** Since when what has been read waits for the disk, in ms of a clock that only goes forward; undefined where it does not. */
  get waitsSince(): number | undefined {
    return this.#waitsSince;
  }

  /** Reads no more, for good: what has been read is written, a line that has begun as a part of it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket.pause();
    await this.#written;
    if (this.#framer.hasPending) await this.#write(this.#framer.part(new Date(), { all: true }));
  }

  /** Closes the FIFO. To be called after `stop`. */
  close(): void {
    this.#socket.destroy();
  }

  #receive(length: number): boolean {
    clearTimeout(this.#timer);
    const rest = this.#rest(length);
    const text = chunk.toString('latin1', 0, length);
    this.#seen(text);
    const begun = performance.now();
    const records = this.#framer.push(text, new Date());
    const wait = this.#pay(length, begun);
    this.#waitsSince = performance.now();
    this.#written = this.#write(records);
    void this.#written.then(() => {
      this.#waitsSince = undefined;
      if (this.#stopped) return;
      // A full chunk: there is more, and who writes it may be waiting.
      if (wait > 0) this.#timer = setTimeout(() => this.#readOn(), Math.max(wait, rest));
      else if (length === chunk.length) this.#readOn();
      else this.#timer = setTimeout(() => this.#readOn(), rest);
    });
    return false;
  }

  /** Counts a chunk whose records took from `begun` until now. @returns ms to wait before reading more */
  #pay(length: number, begun: number): number {
    const now = performance.now();
    const cost = Math.max(length, Math.min(now - begun, timeCost.most) * timeCost.perMs);
    const wait = this.#allowance.take(cost, now);
    if (wait > 0) this.#limited();
    return wait;
  }

  /** How long the breather after so many bytes is. */
  #rest(length: number): number {
    const now = performance.now();
    const needed = ((now - this.#readAt) / length) * expected;
    this.#readAt = now;
    return Math.min(Math.max(needed, breather.shortest), breather.longest);
  }

  #readOn(): void {
    if (this.#framer.hasPending) this.#timer = setTimeout(() => this.#showBegun(), patience);
    this.#socket.resume();
  }

  #showBegun(): void {
    if (this.#framer.hasPending) void this.#write(this.#framer.part(new Date()));
  }

  async #write(records: string): Promise<void> {
    if (records !== '') await this.#log.write(records);
  }
}

/**
 * For reading, without a wait. The kernel tells of the end of a FIFO only to whoever had it open while somebody could
 * write, be it for a moment.
 */
function openFifo(path: string): number {
  const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
  const fd = openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    closeSync(openSync(path, O_WRONLY | O_NONBLOCK));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

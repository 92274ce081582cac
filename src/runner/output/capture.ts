import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { AppLog } from '../../logs/app-log.ts';
import type { Framer } from '../../logs/framer.ts';
import type { Allowance } from '../allowance.ts';

/**
 * Buffer of all streams: each chunk is decoded before the next read. With the text that a framer holds back, a stream loses
 * 64 KiB at most if the runner is killed.
 */
const chunk = Buffer.allocUnsafe(48 * 1024);
/**
 * Pause after a chunk that was not full, in ms: reading each line costs twenty times as much. The slower the stream fills, the
 * longer the pause. A process that suddenly fills the pipe waits for it once.
 */
const pause = { shortest: 10, longest: 30 };
/** Bytes that may arrive during a pause at the former rate. A pipe takes 64 KiB before its writer waits. */
const expected = 16 * 1024;
/** Time after which a line without an end is logged, in ms. */
const partDelay = 1000;

/**
 * Cost of a millisecond of our time, in bytes of an allowance: output that takes long to mask is read more slowly. A chunk costs
 * `most` milliseconds at most, since other processes may have had the processor.
 */
const timeCost = { perMs: 64 * 1024, most: 16 };

interface CaptureOptions {
  log: AppLog;
  framer: Framer;
  /** bytes that the app may print; output that exceeds it stays in the FIFO, and its writer waits */
  allowance: Allowance;
  /** get each chunk, bytes as latin1 */
  tails: { add(text: string): void }[];
  /** called when the allowance is used up */
  limited: () => void;
}

/** Copies the output of one FIFO into the log of the app. Reads the next chunk when the last one is written. */
export class Capture {
  /** fulfilled when no process can write any more and all output is logged; rejected if the FIFO cannot be read */
  readonly ended: Promise<void>;
  /** time since which a chunk waits for the disk, on a clock that only goes forward; undefined if none waits */
  waitsSince: number | undefined;
  readonly #options: CaptureOptions;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();
  #stopped = false;
  /** time of the last read, on a clock that only goes forward */
  #readAt = performance.now();

  /** @param fifo path; if no process has it open for writing, the end is found at once */
  constructor(fifo: string, options: CaptureOptions) {
    this.#options = options;
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
      void this.#write(options.framer.end(new Date())).then(ended.resolve);
    });
    this.#socket.on('error', ended.reject);
    this.#socket.resume();
  }

  /** Stops reading for good, and closes the FIFO. Logs all text that was read, including a line without an end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket.pause();
    await this.#written;
    this.#socket.destroy();
    if (this.#options.framer.hasPending)
      await this.#write(this.#options.framer.part(new Date(), { all: true }));
  }

  #receive(length: number): boolean {
    clearTimeout(this.#timer);
    const rest = this.#pauseAfter(length);
    const text = chunk.toString('latin1', 0, length);
    for (const tail of this.#options.tails) tail.add(text);
    const begun = performance.now();
    const records = this.#options.framer.push(text, new Date());
    const wait = this.#pay(length, begun);
    this.waitsSince = performance.now();
    this.#written = this.#write(records);
    void this.#written.then(() => {
      this.waitsSince = undefined;
      if (this.#stopped) return;
      // After a full chunk there is more, and its writer may be waiting.
      if (wait === 0 && length === chunk.length) this.#readOn();
      else this.#timer = setTimeout(() => this.#readOn(), Math.max(wait, rest));
    });
    return false;
  }

  /** Charges the allowance for a chunk whose records took from `begun` until now. @returns ms to wait before the next read */
  #pay(length: number, begun: number): number {
    const now = performance.now();
    const cost = Math.max(length, Math.min(now - begun, timeCost.most) * timeCost.perMs);
    const wait = this.#options.allowance.take(cost, now);
    if (wait > 0) this.#options.limited();
    return wait;
  }

  #pauseAfter(length: number): number {
    const now = performance.now();
    const needed = ((now - this.#readAt) / length) * expected;
    this.#readAt = now;
    return Math.min(Math.max(needed, pause.shortest), pause.longest);
  }

  #readOn(): void {
    if (this.#options.framer.hasPending) this.#timer = setTimeout(() => this.#writePart(), partDelay);
    this.#socket.resume();
  }

  #writePart(): void {
    if (this.#options.framer.hasPending) void this.#write(this.#options.framer.part(new Date()));
  }

  async #write(records: string): Promise<void> {
    if (records !== '') await this.#options.log.write(records);
  }
}

/**
 * Opens a FIFO for reading without a wait. The kernel reports the end of a FIFO only to a reader that was open at the same time
 * as a writer, so a writer is open for a moment.
 */
function openFifo(path: string): number {
  const writer = openSync(path, 'r+');
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } finally {
    closeSync(writer);
  }
}

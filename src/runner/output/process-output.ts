import { closeSync, openSync, rmSync } from 'node:fs';
import type { AppLog } from '../../logs/app-log.ts';
import { Framer } from '../../logs/framer.ts';
import type { LogOrigin } from '../../logs/line.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { formatBytes } from '../../system/text/format.ts';
import type { Masker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import { Capture } from './capture.ts';
import { readSavedOutput } from './saved-output.ts';

/** Longest wait for the output of a process that has ended, in ms: a leftover process may have the FIFOs open. */
const endDelay = 1000;

/** Time after which a slow write to the log excuses the silence of the app, in ms. */
const blockedAfter = 500;

/**
 * Limits of the output of an app, in bytes. A core reads, masks and compresses several times as much, and the other apps need
 * the runner, too.
 */
export const printed = { atOnce: 64 * 1024 ** 2, perSecond: 16 * 1024 ** 2 };

/** Time between two notes that a process prints too much, in ms. */
const limitNotedEvery = 60_000;

interface OutputOptions {
  origin: LogOrigin;
  log: AppLog;
  /** bytes that the app may print; all processes of the app share it */
  allowance: Allowance;
  masker: Masker;
  /** path of the files without their endings: the FIFOs `.out` and `.err`, and `.json`, the record for the next runner */
  path: string;
  /** called when all output is in the log */
  ended: () => void;
  /** called when the process has ended and a leftover process still has its output open */
  orphaned: () => void;
  /** called if output cannot be read */
  failed: (error: unknown) => void;
}

interface OutputStream {
  /** path of the FIFO */
  fifo: string;
  framer: Framer;
  tails: Tail[];
}

/**
 * Output of one process on its way into the log. The process has both ends of its FIFOs open. So it can write while no runner
 * reads, and its writes never fail.
 */
export class ProcessOutput {
  readonly everything: Tail;
  readonly #errors: Tail;
  readonly #options: OutputOptions;
  readonly #streams: OutputStream[];
  #captures: Capture[] = [];
  #adopting: Promise<unknown> = Promise.resolve();
  #ended: Promise<void> = Promise.resolve();
  #isRemoved = false;
  /** true if the process has ended, another process still has its output open, and the runner still reads it */
  isOrphaned = false;
  #stopped = false;
  #limitNotedAt = Number.NEGATIVE_INFINITY;

  constructor(options: OutputOptions) {
    this.#options = options;
    const { origin, masker, path } = options;
    this.everything = new Tail(masker);
    this.#errors = new Tail(masker);
    this.#streams = [
      { fifo: `${path}.out`, framer: new Framer(origin, 'out', masker), tails: [this.everything] },
      {
        fifo: `${path}.err`,
        framer: new Framer(origin, 'err', masker),
        tails: [this.everything, this.#errors],
      },
    ];
  }

  /**
   * Opens stdout and stderr for the process. The caller closes them after the start. An output that was removed goes to /dev/null,
   * because it cannot be captured: the process must run all the same.
   */
  open(): number[] {
    using opened = new DisposableStack();
    const descriptors = this.#streams.map(({ fifo }) =>
      opened.adopt(openSync(this.#isRemoved ? '/dev/null' : fifo, 'r+'), closeSync),
    );
    opened.move();
    return descriptors;
  }

  /** Begins to read. To be called when the process has been started: without a writer, the end is found at once. */
  capture(): void {
    if (!this.#isRemoved) this.#ended = this.#captureAll();
  }

  /** Continues for an earlier runner: logs saved output first, and then new output. */
  adopt(): void {
    const { log, failed } = this.#options;
    const saved = this.#streams.map(({ fifo, framer }) =>
      readSavedOutput(fifo, framer, log, () => this.#stopped),
    );
    this.#adopting = Promise.all(saved);
    this.#ended = this.#adopting.then(() => (this.#stopped ? undefined : this.#captureAll()), failed);
  }

  /** Returns the last lines on stderr, or on stdout if there are none. */
  lastLines(): string[] {
    const errors = this.#errors.lines();
    return errors.length > 0 ? errors : this.everything.lines();
  }

  /** Returns true if output has waited for the disk for a while: the process may be waiting for its own writes. */
  isBlocked(now: number): boolean {
    return this.#captures.some(
      ({ waitsSince }) => waitsSince !== undefined && now - waitsSince > blockedAfter,
    );
  }

  /** Writes a line about the process into the log of its app. */
  note(text: string): void {
    const { log, origin, masker } = this.#options;
    void log.report(origin, masker.maskText(text));
  }

  /** Waits, for a limited time, until all output of the process is in the log. */
  async end(): Promise<void> {
    await withDeadline(this.#ended, endDelay);
  }

  /** Waits for the rest of the output. To be called when the process has ended. */
  async processEnded(): Promise<void> {
    await this.end();
    if (this.#isRemoved) return;
    this.isOrphaned = true;
    this.#options.orphaned();
  }

  /** Stops reading for good, even if another process may still write. */
  async cut(): Promise<void> {
    this.isOrphaned = false;
    await this.stop();
    this.remove();
  }

  /** Stops reading for good. All text that was read is in the log then. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#adopting.catch(() => undefined);
    await Promise.all(this.#captures.map((capture) => capture.stop()));
  }

  /** Removes the FIFOs and the record, when no process will write any more. */
  remove(): void {
    const { path, ended } = this.#options;
    this.#isRemoved = true;
    ended();
    try {
      for (const ending of ['out', 'err', 'json']) rmSync(`${path}.${ending}`, { force: true });
    } catch (error) {
      // The next runner removes the files that stay, since no process writes into them.
      this.#options.failed(error);
    }
  }

  async #captureAll(): Promise<void> {
    const { origin, failed } = this.#options;
    const log = (message: string) => failed(new Error(message));
    const what = `the capture of the output of ${origin.process}`;
    try {
      // If descriptors are short, the process waits.
      await retryOnShortage(
        what,
        () => this.#openCaptures(),
        log,
        () => this.#stopped,
      );
      await Promise.all(this.#captures.map(({ ended }) => ended));
      this.remove();
    } catch (error) {
      // An earlier runner that was killed before it made the FIFOs has left no captures, so there is no output to read. If this
      // runner stops while it waits for a descriptor, the next runner reads. FIFOs that cannot be read also stay for that runner.
      if (this.#captures.length === 0 && !this.#stopped) await this.cut();
      failed(error);
    }
  }

  /** Opens both FIFOs at once, so that the end of the process is found. */
  #openCaptures(): void {
    const { log, allowance } = this.#options;
    const limited = () => this.#noteLimit();
    try {
      for (const { fifo, framer, tails } of this.#streams)
        this.#captures.push(new Capture(fifo, { log, framer, tails, allowance, limited }));
    } catch (error) {
      for (const capture of this.#captures.splice(0)) void capture.stop();
      throw error;
    }
  }

  /** Notes, once in a while, that the process prints faster than its app may. */
  #noteLimit(): void {
    const now = performance.now();
    if (now - this.#limitNotedAt < limitNotedEvery) return;
    this.#limitNotedAt = now;
    const rate = `${formatBytes(printed.perSecond)} a second`;
    this.note(
      `the app prints more than ${rate} for a while: Sluice reads its output more slowly, and the app waits`,
    );
  }
}

/** Limits of a tail: bytes in memory, and lines that it returns unless it is asked for more. */
const most = { bytes: 8 * 1024, lines: 20 };

/** Last lines of an output, for the report of its end. */
export class Tail {
  readonly #masker: Masker;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(masker: Masker) {
    this.#masker = masker;
  }

  /** @param text bytes as latin1 */
  add(text: string): void {
    // A copy: a slice of a string would keep the whole string in memory.
    const last = Buffer.from(text.slice(-most.bytes), 'latin1');
    const isFull = last.length >= most.bytes;
    this.#bytes = isFull ? last : Buffer.concat([this.#bytes.subarray(last.length - most.bytes), last]);
  }

  /**
   * Returns the last lines, masked. Leaves out stack frames of Node.js itself: if a module is not found, they would push the
   * line that names the module out of the last lines.
   */
  lines(limit = most.lines): string[] {
    const masked = this.#masker.maskUnfinished(this.#masker.mask(this.#bytes.toString('latin1')));
    const lines = Buffer.from(masked, 'latin1').toString().trimEnd().split('\n');
    // The first line may have lost its beginning.
    if (this.#bytes.length >= most.bytes) lines.shift();
    return lines.filter((line) => line.trim() !== '' && !/^\s+at .*\bnode:/.test(line)).slice(-limit);
  }
}

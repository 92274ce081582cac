import { closeSync, constants, openSync, rmSync } from 'node:fs';
import type { AppLog } from '../../logs/app-log.ts';
import { Framer } from '../../logs/framer.ts';
import type { LogOrigin } from '../../logs/line.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { retryOnShortage } from '../../system/concurrency/retry.ts';
import { formatBytes } from '../../system/text/format.ts';
import type { Masker } from '../../system/text/mask/masker.ts';
import type { Allowance } from '../allowance.ts';
import { Capture } from './capture.ts';
import { SavedOutput } from './saved-output.ts';

/** How long the output of a process that has ended is waited for, in ms: something that it left behind may hold it. */
const endDelay = 1000;

/** A write to the log that takes longer is no matter of the app's, in ms. */
const heldUpAfter = 500;

/**
 * Limits what an app prints, in bytes. A core reads, masks and compresses several times as much, and the other apps need the
 * runner, too.
 */
export const printed = { atOnce: 64 * 1024 ** 2, perSecond: 16 * 1024 ** 2 };

/** Time between two notes that a process prints too much, in ms. */
const limitNotedEvery = 60_000;

interface OutputOptions {
  origin: LogOrigin;
  log: AppLog;
  /** bytes that the app may print: shared by all its processes */
  allowance: Allowance;
  masker: Masker;
  /** paths of the FIFOs, and of the record that tells the next runner of them */
  out: string;
  err: string;
  record: string;
  /** told when all of it is in the log */
  ended: () => void;
  /** called when the process has ended and a process that it left behind still has its output */
  orphaned: () => void;
  /** told where what was kept could not be read */
  failed: (error: unknown) => void;
}

/**
 * The way of what a process prints into the log. The process holds both ends of its FIFOs, so that it can go on
 * writing while there is nobody to read, and never sees one break.
 */
export class ProcessOutput {
  readonly everything: Tail;
  readonly #errors: Tail;
  readonly #options: OutputOptions;
  readonly #framers: { out: Framer; err: Framer };
  #captures: Capture[] = [];
  #adopting: Promise<unknown> = Promise.resolve();
  #ended: Promise<void> = Promise.resolve();
  #givenUp = false;
  #isOver = false;
  /** true if the process has ended, another process still has its output, and the runner still reads it */
  isOrphaned = false;
  #stopped = false;
  #limitNotedAt: number | undefined;

  constructor(options: OutputOptions) {
    this.#options = options;
    const { origin, masker } = options;
    this.everything = new Tail(masker);
    this.#errors = new Tail(masker);
    this.#framers = { out: new Framer(origin, 'out', masker), err: new Framer(origin, 'err', masker) };
  }

  /** Opens what is to be stdout and stderr of the process; whoever starts it closes them then. */
  open(): [number, number] {
    const { out, err } = this.#options;
    const first = openForBoth(this.#givenUp ? '/dev/null' : out);
    try {
      return [first, openForBoth(this.#givenUp ? '/dev/null' : err)];
    } catch (error) {
      closeSync(first);
      throw error;
    }
  }

  /** It cannot be captured: the process is to run all the same. */
  discard(): void {
    this.#givenUp = true;
    this.remove();
  }

  /** To be called when the process has been started: with nobody who writes, the end is found at once. */
  capture(): void {
    if (!this.#givenUp) this.#ended = this.#captureAll();
  }

  /** Takes over what an earlier runner began: first what was kept meanwhile, then what is still to come. */
  adopt(): void {
    this.#adopting = Promise.all([this.#readKept('out'), this.#readKept('err')]);
    this.#ended = this.#adopting.then(
      () => (this.#stopped ? undefined : this.#captureAll()),
      (error: unknown) => this.#options.failed(error),
    );
  }

  /** The last lines on stderr, or at all where there are none. */
  lastLines(): string[] {
    const errors = this.#errors.lines();
    return errors.length > 0 ? errors : this.everything.lines();
  }

  /** Whether what it prints has been waiting for the disk for a while: then it may wait, too. */
  isBlocked(now: number): boolean {
    return this.#captures.some(
      ({ waitsSince }) => waitsSince !== undefined && now - waitsSince > heldUpAfter,
    );
  }

  /** Says something of the process in the log of its app. */
  note(text: string): void {
    const { log, origin, masker } = this.#options;
    void log.report(origin, masker.maskText(text));
  }

  /** Waits, for a moment, until all that the process printed is in the log. */
  async end(): Promise<void> {
    await withDeadline(this.#ended, endDelay);
  }

  /** Number of file descriptors that this output takes. */
  get descriptors(): number {
    return this.#captures.length;
  }

  /** Waits for the rest of the output. To be called when the process has ended. */
  async processEnded(): Promise<void> {
    await this.end();
    if (this.#isOver) return;
    this.isOrphaned = true;
    this.#options.orphaned();
  }

  /** Stops reading for good, even if another process may still write. */
  async cut(): Promise<void> {
    this.isOrphaned = false;
    await this.stop();
    for (const capture of this.#captures.splice(0)) capture.close();
    this.remove();
  }

  /** Reads no more, for good; what has been read is in the log. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#adopting.catch(() => undefined);
    await Promise.all(this.#captures.map((capture) => capture.stop()));
  }

  /** Nobody will write any more. */
  remove(): void {
    const { out, err, record, ended } = this.#options;
    this.#isOver = true;
    ended();
    try {
      for (const path of [out, err, record]) rmSync(path, { force: true });
    } catch (error) {
      // The next runner removes the files that stay, since no process writes into them.
      this.#options.failed(error);
    }
  }

  async #captureAll(): Promise<void> {
    try {
      await this.#openCaptures();
    } catch (error) {
      // There is no output to read: an earlier runner was killed before it had made the pipes. If this runner stops while it
      // waits for a descriptor, the next runner reads.
      if (!this.#stopped) await this.cut();
      this.#options.failed(error);
      return;
    }
    try {
      await Promise.all(this.#captures.map(({ ended }) => ended));
      this.remove();
    } catch (error) {
      // The FIFOs stay: the process has them, and the next runner may do better.
      this.#options.failed(error);
    }
  }

  /** Opens both pipes at once, so that the end of the process is found; later if descriptors are short: the process waits. */
  async #openCaptures(): Promise<void> {
    const open = () => {
      const out = this.#captureOne('out');
      try {
        this.#captures = [out, this.#captureOne('err')];
      } catch (error) {
        out.close();
        throw error;
      }
    };
    const tell = (message: string) => this.#options.failed(new Error(message));
    await retryOnShortage(
      `to read what ${this.#options.origin.process} prints`,
      open,
      tell,
      () => this.#stopped,
    );
  }

  #captureOne(stream: 'out' | 'err'): Capture {
    const seen = (text: string) => {
      this.everything.add(text);
      if (stream === 'err') this.#errors.add(text);
    };
    const { [stream]: path, log, allowance } = this.#options;
    const limited = () => this.#noteLimit();
    return new Capture(path, log, this.#framers[stream], allowance, { seen, limited });
  }

  /** Notes, once in a while, that the process prints faster than its app may. */
  #noteLimit(): void {
    const now = performance.now();
    if (this.#limitNotedAt !== undefined && now - this.#limitNotedAt < limitNotedEvery) return;
    this.#limitNotedAt = now;
    const rate = `${formatBytes(printed.perSecond)} a second`;
    this.note(`the app prints more than ${rate} for a while: its output is read more slowly, and it waits`);
  }

  async #readKept(stream: 'out' | 'err'): Promise<void> {
    const { [stream]: path, log } = this.#options;
    await new SavedOutput(path).read(this.#framers[stream], log, () => this.#stopped);
  }
}

function openForBoth(path: string): number {
  return openSync(path, constants.O_RDWR);
}

/** How much is kept of what a process printed last, in bytes, and how many lines of it are told. */
const kept = 8 * 1024;
const told = 20;

/** What a process printed last, for an error that says why it ended. */
export class Tail {
  readonly #masker: Masker;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(masker: Masker) {
    this.#masker = masker;
  }

  /** @param text bytes as latin1 */
  add(text: string): void {
    // A copy: a part of a string keeps the whole of it in memory.
    const last = Buffer.from(text.slice(-kept), 'latin1');
    this.#bytes =
      last.length >= kept ? last : Buffer.concat([this.#bytes.subarray(last.length - kept), last]);
  }

  /**
   * Returns the last lines, masked. Leaves out stack frames of Node.js itself: if a module is not found, they would push the
   * line that names the module out of the last lines.
   */
  lines(): string[] {
    const masked = this.#masker.mask(this.#bytes.toString('latin1'));
    const lines = Buffer.from(masked, 'latin1').toString().trimEnd().split('\n');
    // The first one may be the end of a longer one.
    if (this.#bytes.length >= kept) lines.shift();
    return lines.filter((line) => line.trim() !== '' && !/^\s+at .*\bnode:/.test(line)).slice(-told);
  }
}

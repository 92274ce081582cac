import { addAbortListener } from 'node:events';

/**
 * Starts a timer that limits how long somebody else may take. If our event loop stood still, or the machine was suspended, timers
 * come before messages that have arrived meanwhile. Such messages are read first, and are in time.
 * @param milliseconds until `late`
 */
export function patientTimer(late: () => void, milliseconds: number): NodeJS.Timeout {
  // Order in a turn of the event loop: timers, then the network, then setImmediate.
  return setTimeout(() => setImmediate(late), milliseconds);
}

/**
 * Waits for `promise`, at most `milliseconds` by a patient timer, and clears the timer.
 * @returns the promise's value, or `{ timedOut: true }`
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<{ timedOut: false; value: T } | { timedOut: true }> {
  const { promise: deadline, resolve } = Promise.withResolvers<{ timedOut: true }>();
  using _timer = patientTimer(() => resolve({ timedOut: true }), milliseconds);
  return await Promise.race([promise.then((value) => ({ timedOut: false as const, value })), deadline]);
}

/**
 * Waits for the first of some promises, or for a signal that aborts; returns the signal itself then. Leaves no listener: Node.js
 * keeps a composed signal alive as long as it has listeners, with everything that they refer to.
 */
export async function firstOf<T>(promises: Promise<T>[], signals: AbortSignal[]): Promise<T | AbortSignal> {
  using listeners = new DisposableStack();
  const aborted = signals.map(
    (signal) =>
      new Promise<AbortSignal>((resolve) => {
        listeners.use(addAbortListener(signal, () => resolve(signal)));
      }),
  );
  return await Promise.race([...promises, ...aborted]);
}

/** Limit of the time between two turns of our event loop that counts as attended, in ms. */
const maxAttended = 500;
/** Interval between two readings of the clock, in ms. */
const step = 250;

/**
 * Returns the time during which this process could receive messages. If this process stood still for seconds, or the machine
 * was suspended, that time must not count as the silence of another process.
 * @param elapsed ms since the last turn
 * @returns ms
 */
export function attendedTime(elapsed: number): number {
  return Math.min(elapsed, maxAttended);
}

/** Deadline that aborts its signal after some attended time, once everything that has arrived by then is read. */
export class AttendedDeadline implements Disposable {
  readonly #controller = new AbortController();
  readonly signal = this.#controller.signal;
  #left: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number) {
    this.#left = milliseconds;
    this.#wait();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    const start = performance.now();
    const check = () => {
      this.#left -= attendedTime(performance.now() - start);
      if (this.#left > 0) this.#wait();
      else setImmediate(() => this.#controller.abort());
    };
    this.#timer = setTimeout(check, Math.max(0, Math.min(step, this.#left)));
  }
}

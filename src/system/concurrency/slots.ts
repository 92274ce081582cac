import { addAbortListener } from 'node:events';

/** Queue of callers that wait, in the order of their arrival. */
export class WaitQueue {
  readonly #callers = new Set<() => void>();

  /** Waits for the caller's turn. @throws the reason of the signal if it aborts first */
  async wait(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#callers.add(resolve);
    const abort = () => {
      this.#callers.delete(resolve);
      reject(signal?.reason);
    };
    using _ = signal && addAbortListener(signal, abort);
    await promise;
  }

  /** Lets the first caller proceed. @returns false if nobody waits */
  releaseOne(): boolean {
    const [next] = this.#callers;
    if (next === undefined) return false;
    this.#callers.delete(next);
    next();
    return true;
  }

  /** Lets all callers proceed. */
  releaseAll(): void {
    while (this.releaseOne());
  }
}

/** Semaphore: lets a fixed number of callers proceed at a time, in the order of their arrival. */
export class Slots {
  #free: number;
  readonly #queue = new WaitQueue();

  constructor(count: number) {
    this.#free = count;
  }

  get busy(): boolean {
    return this.#free === 0;
  }

  /**
   * Waits for a slot. The slot is free again when the result is disposed of.
   * @throws the reason of the signal if it aborts first
   */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#queue.wait(signal);
    const slot = new DisposableStack();
    // The next caller gets the slot directly: a caller that arrives meanwhile cannot overtake.
    slot.defer(() => {
      if (!this.#queue.releaseOne()) this.#free += 1;
    });
    return slot;
  }

  /** Runs a task in a slot. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    using _ = await this.take();
    return await task();
  }
}

/** Lock: lets one caller proceed at a time, in the order of their arrival. */
export class Lock extends Slots {
  constructor() {
    super(1);
  }
}

/** Runs tasks with the same key one after the other. Tasks with different keys do not wait for each other. */
export class LockByKey {
  readonly #keys = new Map<string, { lock: Lock; tasks: number }>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    using _ = await this.take(key);
    return await task();
  }

  /** Returns true if a task has the lock of a key. */
  isTaken(key: string): boolean {
    return this.#keys.has(key);
  }

  /**
   * Waits for the lock of a key. The lock is free again when the result is disposed of.
   * @throws the reason of the signal if it aborts first
   */
  async take(key: string, signal?: AbortSignal): Promise<Disposable> {
    const entry = this.#keys.get(key) ?? { lock: new Lock(), tasks: 0 };
    this.#keys.set(key, entry);
    entry.tasks += 1;
    using taken = new DisposableStack();
    taken.defer(() => {
      entry.tasks -= 1;
      if (entry.tasks === 0) this.#keys.delete(key);
    });
    taken.use(await entry.lock.take(signal));
    return taken.move();
  }
}

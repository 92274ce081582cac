import { watch } from 'node:fs';
import { hasCode } from '../errors/app-error.ts';

/** How long a follower waits at most before it looks again, in ms: not every file system tells of changes. */
const lookAgain = 1000;

/** Wakes a follower when something changes in a directory, and now and then at any rate. */
export class Changes implements Disposable {
  readonly #directory: string;
  readonly #signal: AbortSignal;
  #watcher: { close(): void } | undefined;
  #changed = false;
  #wake: (() => void) | undefined;

  constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory;
    this.#signal = signal;
    signal.addEventListener('abort', this.#note, { once: true });
    this.#watch();
  }

  /** Resolves at the next change, at once where there was one since the last call. */
  async next(): Promise<void> {
    if (!this.#changed && !this.#signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, lookAgain);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
    this.#changed = false;
    this.#watch();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#note);
    this.#watcher?.close();
  }

  readonly #note = () => {
    this.#changed = true;
    this.#wake?.();
  };

  /** The directory appears with the first boot; until then, and where nothing can be watched, the clock does. */
  #watch(): void {
    if (this.#watcher !== undefined) return;
    try {
      const watcher = watch(this.#directory, { persistent: false }, this.#note);
      watcher.on('error', () => {
        watcher.close();
        this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOSPC', 'EMFILE')) throw error;
    }
  }
}

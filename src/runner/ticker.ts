import type { TargetRunner } from './target.ts';

/** How often all processes are looked at, and how often while one is near its limit; in ms. */
const interval = 250;
const closeInterval = 50;
/** Having been late by so much, we were stopped ourselves, and what others have said meanwhile is still unread; in ms. */
const lateness = 500;

/** Looks at every process from time to time. */
export class Ticker {
  readonly #targets: () => Iterable<TargetRunner>;
  readonly #sweep: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param sweep called as often, for what is to be cleared away */
  constructor(targets: () => Iterable<TargetRunner>, sweep: () => void) {
    this.#targets = targets;
    this.#sweep = sweep;
  }

  start(): void {
    this.#next(interval);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #next(delay: number): void {
    const due = performance.now() + delay;
    this.#timer = setTimeout(() => {
      const now = performance.now();
      const targets = [...this.#targets()];
      if (now - due < lateness) for (const target of targets) target.tick(now);
      this.#sweep();
      this.#next(targets.some((target) => target.isNearLimit) ? closeInterval : interval);
    }, delay);
  }
}

import type { AppMetric } from '../protocol/worker.ts';

/** Limit of the metrics of a process; its bootstrap has the same, but the app may write into the channel. */
const mostMetrics = 32;

/** Last values of the metrics that the app has declared in one process. */
export class Metrics {
  readonly #all = new Map<string, AppMetric>();

  note({ name, value, unit }: AppMetric): void {
    if (this.#all.size < mostMetrics || this.#all.has(name)) this.#all.set(name, { name, value, unit });
  }

  /** Returns all metrics, in the order of their declaration. */
  list(): AppMetric[] {
    return [...this.#all.values()];
  }
}

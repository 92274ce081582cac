import type { AppMetric } from '../protocol/worker.ts';
import { sharedMasker } from '../system/text/mask/masker.ts';

/** Limit of the metrics of a process; its bootstrap has the same, but the app may write into the channel. */
const mostMetrics = 32;

/** Last values of the metrics that the app has declared in one process, masked as its log is. */
export class Metrics {
  readonly #all = new Map<string, AppMetric>();
  readonly #secrets: string[];

  constructor(secrets: string[]) {
    this.#secrets = secrets;
  }

  note(metric: AppMetric): void {
    const masker = sharedMasker(this.#secrets);
    // The bootstrap of the process cuts long texts.
    const mask = (text: string) => masker.maskText(text, true);
    const name = mask(metric.name);
    const value = typeof metric.value === 'string' ? mask(metric.value) : metric.value;
    const unit = mask(metric.unit);
    if (this.#all.size < mostMetrics || this.#all.has(name)) this.#all.set(name, { name, value, unit });
  }

  /** Returns all metrics, in the order of their declaration. */
  list(): AppMetric[] {
    return [...this.#all.values()];
  }
}

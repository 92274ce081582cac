import type { Cgroup } from '../cgroups/cgroup.ts';
import { describeShortage } from '../exit.ts';

/** In ms. */
const lookEvery = 950;
/** What would be said again and again is said as often as this, in ms. */
const tellEvery = 60_000;

/** Tells what the kernel refuses a generation: it does not always end a worker, but maybe a process that one has started. */
export class ShortageWatch {
  readonly #group: Cgroup;
  readonly #log: (message: string) => void;
  readonly #tellOwner: (what: string) => void;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #toldAt = Number.NEGATIVE_INFINITY;

  /** @param tellOwner says of a worker, also where the app's owner sees it, that it `is of a release at its limit` */
  constructor(group: Cgroup, log: (message: string) => void, tellOwner: (what: string) => void) {
    this.#group = group;
    this.#log = log;
    this.#tellOwner = tellOwner;
  }

  tick(now: number): void {
    if (now - this.#lookedAt < lookEvery) return;
    this.#lookedAt = now;
    const shortages = this.#group.shortages(now);
    if (shortages.some(({ of }) => of === 'memory')) {
      this.#log('a process was killed by the kernel, because memory ran out');
    }
    const processes = shortages.find(({ of }) => of === 'processes');
    if (processes === undefined || now - this.#toldAt < tellEvery) return;
    this.#toldAt = now;
    this.#tellOwner(`is of a release at ${describeShortage(processes)}`);
  }
}

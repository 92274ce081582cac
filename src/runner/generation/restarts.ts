import type { RestartSpec } from '../../protocol/runner.ts';
import { backoffDelay } from '../../system/concurrency/retry.ts';
import { formatDuration } from '../../system/text/format.ts';
import type { Exit } from '../exit.ts';

/** The longest delay between two restarts, and that of something that is `crashed`; in ms. */
const ceiling = 15_000;
const factor = 1.5;
/** Having lived this long, a process's death is not counted with those before it; in ms. */
const steadyTime = 30_000;

/** How often one process has ended, and when it is to be started again. */
export class Restarts {
  readonly #spec: RestartSpec;
  /** deaths in a row, none of which was after `steadyTime` */
  #inRow = 0;
  /** deaths in a row before `minUptime` */
  #early = 0;
  /** how often it was started again */
  count = 0;

  constructor(spec: RestartSpec) {
    this.#spec = spec;
  }

  /** Whether it dies so fast, again and again, that something is wrong with it. */
  get isCrashing(): boolean {
    return this.#early >= Math.max(1, this.#spec.maxRestarts);
  }

  /**
   * @param lived how long it was up, in ms; 0 where it never was
   * @returns ms until it is to be started again; null for never
   */
  died(lived: number, { code }: Exit): number | null {
    if (code !== null && this.#spec.stopExitCodes.includes(code)) return null;
    this.#inRow = lived >= steadyTime ? 1 : this.#inRow + 1;
    this.#early = lived >= this.#spec.minUptime ? 0 : this.#early + 1;
    this.count += 1;
    if (this.isCrashing) return ceiling;
    return backoffDelay(this.#inRow - 1, { initial: this.#spec.delay, factor, ceiling });
  }

  /** What `died` came to, as a clause. */
  next(delay: number | null): string {
    if (delay === null) return 'it is not started again ("stopExitCodes")';
    const when = `it is started again ${delay === 0 ? 'at once' : `in ${formatDuration(delay)}`}`;
    return this.isCrashing ? `crashed: ${when}` : when;
  }
}

import type { RestartSpec } from '../../protocol/runner.ts';
import { backoffDelay } from '../../system/concurrency/retry.ts';
import { formatDuration } from '../../system/text/format.ts';

/** Longest delay between two restarts, and the delay of a crashed process, in ms. */
const ceiling = 15_000;
const factor = 1.5;
/** Uptime of a process that takes the runner more time than it runs, in ms. */
const quickTime = 1000;
/** Shortest delays after quick deaths, whatever the settings, in ms: each start takes time from all apps. The first is 0. */
const quickDelays = { initial: 100, factor, ceiling: 5000 };
/** Uptime after which earlier deaths do not count, in ms. */
export const steadyTime = 30_000;

/** Counts the deaths of one process, and decides when it is started again. */
export class Restarts {
  readonly #spec: RestartSpec;
  /** deaths in a row, none of which was after `steadyTime` */
  #inRow = 0;
  /** deaths in a row before `quickTime` */
  #quick = 0;
  /** deaths in a row before `minUptime` */
  #early = 0;
  #count = 0;

  constructor(spec: RestartSpec) {
    this.#spec = spec;
  }

  /** Returns the number of restarts. */
  get count(): number {
    return this.#count;
  }

  /** True if the process has died early `maxRestarts` times in a row. */
  get isCrashing(): boolean {
    return this.#early >= Math.max(1, this.#spec.maxRestarts);
  }

  /**
   * Counts a death.
   * @param lived uptime in ms; 0 if the process was never up
   * @param code exit status; null after a signal
   * @returns ms until the next start; null if the process is not started again
   */
  noteDeath(lived: number, code: number | null): number | null {
    if (this.isLast(code)) return null;
    return this.#delayAfter(lived);
  }

  /** Counts an attempt that has started no process. @returns ms until the next attempt */
  noteFailedStart(): number {
    return this.#delayAfter(0);
  }

  #delayAfter(lived: number): number {
    this.#inRow = lived >= steadyTime ? 1 : this.#inRow + 1;
    this.#quick = lived >= quickTime ? 0 : this.#quick + 1;
    this.#early = lived >= this.#spec.minUptime ? 0 : this.#early + 1;
    this.#count += 1;
    return Math.max(this.#delay(), backoffDelay(this.#quick - 1, quickDelays));
  }

  #delay(): number {
    const { delay, backoff } = this.#spec;
    if (!backoff) return this.isCrashing ? Math.max(ceiling, delay) : delay;
    if (this.isCrashing) return ceiling;
    return backoffDelay(this.#inRow - 1, { initial: delay, factor, ceiling });
  }

  /** Returns true if the process is not started again after this exit status, and has not failed. */
  isFinal(code: number | null): boolean {
    const { autorestart, stopExitCodes } = this.#spec;
    return code !== null && (stopExitCodes.includes(code) || (!autorestart && code === 0));
  }

  /** Returns true if the process is not started again after this exit status. */
  isLast(code: number | null): boolean {
    return !this.#spec.autorestart || this.isFinal(code);
  }

  /** Counts a restart without a death: another process has replaced this one. */
  replaced(): void {
    this.#count += 1;
  }

  /** Returns a clause about the next start. @param delay as returned by `noteDeath` */
  describeNext(delay: number | null): string {
    if (delay === null)
      return `it is not started again ("${this.#spec.autorestart ? 'stopExitCodes' : 'autorestart'}")`;
    const when = `it is started again ${delay === 0 ? 'at once' : `in ${formatDuration(delay)}`}`;
    return this.isCrashing ? `crashed: ${when}` : when;
  }
}

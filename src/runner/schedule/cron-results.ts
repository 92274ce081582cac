import { closeSync, constants, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { systemCode } from '../../errors/app-error.ts';
import type { CronResult } from '../../protocol/runner.ts';

/** Result of a run that was still under way when Sluice ended. */
export const cutOff = 'Sluice ended before the run did';

/** Result of a run, as stored; `underWay` is true until the run has ended. */
type Stored = CronResult & { underWay?: boolean };

/** How each thing that is done at set times went last, kept in a file over restarts. */
export class CronResults {
  readonly #path: () => string;
  readonly #log: (message: string) => void;
  readonly #results: Record<string, Stored>;
  /** names of the entries whose runs were under way when an earlier runner ended */
  readonly interrupted: string[];

  /** @param path where it is now */
  constructor(path: () => string, log: (message: string) => void) {
    this.#path = path;
    this.#log = log;
    this.#results = this.#read();
    this.interrupted = Object.keys(this.#results).filter((name) => this.#results[name]?.underWay);
    for (const name of this.interrupted) delete this.#results[name]?.underWay;
    if (this.interrupted.length > 0) this.#write(this.#results, this.interrupted.join(', '));
  }

  get(name: string): CronResult | undefined {
    return this.#results[name];
  }

  /** Should the runner end before it has, this is what is found of it. */
  begin(name: string, at: string): void {
    const stored: Stored = { at, durationMs: 0, outcome: 'failed', detail: cutOff, underWay: true };
    this.#write({ ...this.#results, [name]: stored }, name);
  }

  /** Not synced: it may be due each second, and the last results before a power cut are no loss. */
  set(name: string, result: CronResult): void {
    this.#results[name] = result;
    this.#write(this.#results, name);
  }

  #write(results: Record<string, Stored>, name: string): void {
    try {
      replaceFile(this.#path(), JSON.stringify(results));
    } catch (error) {
      this.#log(`the result of ${name} is not on record: ${(error as Error).message}`);
    }
  }

  #read(): Record<string, Stored> {
    try {
      return { ...Object.create(null), ...JSON.parse(readNoLink(this.#path())) };
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        this.#log(`what was done at set times is not readable: ${(error as Error).message}`);
      return Object.create(null);
    }
  }
}

function replaceFile(path: string, content: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** A file of ours is none, and a FIFO would be waited for. */
function readNoLink(path: string): string {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

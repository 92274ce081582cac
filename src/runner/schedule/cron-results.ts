import { closeSync, constants, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { systemCode } from '../../errors/app-error.ts';
import type { CronResult } from '../../protocol/runner.ts';

/** Result of a run that was still under way when Sluice ended. */
export const cutOff = 'Sluice ended before the run did';

/** Result of a run, as stored; `underWay` is true until the run has ended. */
type Stored = CronResult & { underWay?: boolean };

/** Run of a cron entry; `at` is the time of its start. */
interface CronRun {
  name: string;
  at: string;
}

/** Last result of each cron entry of an environment, in a file that outlives the runner. */
export class CronResults {
  readonly #path: () => string;
  readonly #log: (message: string) => void;
  readonly #results: Map<string, Stored>;
  /** runs that have begun and not ended; entries may overlap */
  readonly #underWay = new Set<CronRun>();
  /** names of the entries whose runs were under way when an earlier runner ended */
  readonly interrupted: string[];

  /** @param path returns the current path of the file */
  constructor(path: () => string, log: (message: string) => void) {
    this.#path = path;
    this.#log = log;
    this.#results = this.#read();
    this.interrupted = [...this.#results.keys()].filter((name) => this.get(name)?.underWay);
    for (const name of this.interrupted) delete this.get(name)?.underWay;
    if (this.interrupted.length > 0) this.#write(this.interrupted.join(', '));
  }

  get(name: string): Stored | undefined {
    return this.#results.get(name);
  }

  /** Stores that a run has begun, for the case that the runner ends before the run. */
  begin(name: string, at: string): CronRun {
    const run = { name, at };
    this.#underWay.add(run);
    this.#write(name);
    return run;
  }

  /** Stores the result of a run that has ended. */
  end(run: CronRun, result: CronResult): void {
    this.#underWay.delete(run);
    this.set(run.name, result);
  }

  /** Stores a result, without a sync: entries may run each second, and a power cut may cost the last results. */
  set(name: string, result: CronResult): void {
    this.#results.set(name, result);
    this.#write(name);
  }

  #write(name: string): void {
    const results: Record<string, Stored> = Object.fromEntries(this.#results);
    for (const run of this.#underWay)
      results[run.name] = { at: run.at, durationMs: 0, outcome: 'failed', detail: cutOff, underWay: true };
    try {
      replaceFile(this.#path(), JSON.stringify(results));
    } catch (error) {
      this.#log(`the result of ${name} was not stored: ${(error as Error).message}`);
    }
  }

  #read(): Map<string, Stored> {
    try {
      return new Map(Object.entries(JSON.parse(readFile(this.#path()))));
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        this.#log(`the results of cron entries cannot be read: ${(error as Error).message}`);
      return new Map();
    }
  }
}

function replaceFile(path: string, content: string): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  try {
    writeFileSync(temporary, content, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Reads a file of the runner. Another user may have put a link or a FIFO in its place: neither is followed or waited for. */
function readFile(path: string): string {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  using opened = new DisposableStack();
  return readFileSync(opened.adopt(openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK), closeSync), 'utf8');
}

import { schedule } from 'node-cron';
import { Serial } from '../system/serial.ts';
import { AppLog } from './app-log.ts';
import { compressRotated, keepNewest, keepWithin } from './archive.ts';

/** How the log of an app is kept: see LogSpec in the protocol. */
export interface LogPolicy {
  directory: string;
  size: number;
  schedule: string;
  keep: number;
  maxBytes: number;
}

interface Entry {
  log: AppLog;
  policy: LogPolicy;
  stopSchedule: () => void;
}

/** The logs of all apps, each opened once, and what is done to them when the hour or their size has come. */
export class AppLogs {
  readonly #entries = new Map<string, Entry>();
  readonly #allDirectories: () => Promise<string[]>;
  readonly #fault: (what: string, error: unknown) => void;
  /** one at a time: compressing is work that nobody waits for */
  readonly #upkeep = new Serial();

  /**
   * @param allDirectories of all logs there are on this machine, of apps that do not run too
   * @param fault told what could not be done
   */
  constructor(allDirectories: () => Promise<string[]>, fault: (what: string, error: unknown) => void) {
    this.#allDirectories = allDirectories;
    this.#fault = fault;
  }

  /** The log in `policy.directory`, from now on kept by this policy. */
  get(policy: LogPolicy): AppLog {
    const { directory } = policy;
    const known = this.#entries.get(directory);
    if (known !== undefined && isSame(known.policy, policy)) return known.log;
    known?.stopSchedule();
    const log = known?.log.size === policy.size ? known.log : this.#create(policy);
    if (known !== undefined && known.log !== log) void known.log.close();
    const rotate = () =>
      log.rotate().catch((error: unknown) => this.#fault(`${directory} not rotated`, error));
    const task = schedule(policy.schedule, rotate);
    this.#entries.set(directory, { log, policy, stopSchedule: () => void task.destroy() });
    // Also now: what was killed in the middle of it has left work behind.
    this.#maintain(directory);
    return log;
  }

  /** Nobody writes into it any more, for the time being: what it held open may be removed. */
  async drop(directory: string): Promise<void> {
    const entry = this.#entries.get(directory);
    this.#entries.delete(directory);
    entry?.stopSchedule();
    await entry?.log.close();
  }

  async close(): Promise<void> {
    for (const { log, stopSchedule } of this.#entries.values()) {
      stopSchedule();
      await log.close();
    }
    this.#entries.clear();
  }

  #create({ directory, size }: LogPolicy): AppLog {
    return new AppLog({
      directory,
      size,
      rotated: () => this.#maintain(directory),
      failed: (error) => this.#fault(`${directory} cannot be written`, error),
    });
  }

  #maintain(directory: string): void {
    this.#upkeep
      .run(async () => {
        const policy = this.#entries.get(directory)?.policy;
        if (policy === undefined) return;
        await keepNewest(directory, policy.keep);
        await compressRotated(directory);
        await keepWithin(await this.#allDirectories(), policy.maxBytes);
      })
      .catch((error: unknown) => this.#fault(`${directory} not tidied`, error));
  }
}

function isSame(one: LogPolicy, other: LogPolicy): boolean {
  return (
    one.size === other.size &&
    one.schedule === other.schedule &&
    one.keep === other.keep &&
    one.maxBytes === other.maxBytes
  );
}

import type { LogSpec } from '../protocol/runner.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { AppLog } from './app-log.ts';
import { compressRotated, keepNewest, keepWithin } from './archive.ts';
import { type RotationSchedule, scheduleRotation } from './rotation-schedule.ts';

/** How the log of an app is kept. */
type LogPolicy = Omit<LogSpec, 'overflow' | 'secrets'>;

interface Entry {
  log: AppLog;
  policy: LogPolicy;
}

/** The logs of all apps, each opened once, and what is done to them when the hour or their size has come. */
export class AppLogs {
  readonly #entries = new Map<string, Entry>();
  /** one for each expression, and not for each app: they may cost memory */
  readonly #schedules = new Map<string, RotationSchedule>();
  readonly #allDirectories: () => Promise<string[]>;
  readonly #at: (directory: string) => string;
  readonly #fault: (what: string, error: unknown) => void;
  /** one at a time: compressing is work that nobody waits for */
  readonly #upkeep = new Slots(1);

  /**
   * @param allDirectories of all logs there are on this machine, of apps that do not run too
   * @param fault told what could not be done
   * @param at the path by which a directory is to be used, where that is another one
   */
  constructor(
    allDirectories: () => Promise<string[]>,
    fault: (what: string, error: unknown) => void,
    at: (directory: string) => string = (directory) => directory,
  ) {
    this.#allDirectories = allDirectories;
    this.#at = at;
    this.#fault = fault;
  }

  /** The log in `policy.directory`, from now on kept by this policy. */
  get(policy: LogPolicy): AppLog {
    const { directory } = policy;
    const known = this.#entries.get(directory);
    if (known !== undefined && isSame(known.policy, policy)) return known.log;
    // One for as long as we live: two that write the same file would each rotate it under the other.
    const log = known?.log ?? this.#create(policy);
    void log.resize(policy.size);
    this.#entries.set(directory, { log, policy });
    this.#arrange();
    // Also now: what was killed in the middle of it has left work behind.
    this.#maintain(directory);
    return log;
  }

  /** Nobody writes into it any more, for the time being: what it held open may be removed. */
  async rest(directory: string): Promise<void> {
    await this.#entries.get(directory)?.log.close();
  }

  /** It is about to be removed, with its directory: nothing is written there any more. */
  async forget(directory: string): Promise<void> {
    const entry = this.#entries.get(directory);
    this.#entries.delete(directory);
    this.#arrange();
    await entry?.log.end();
    await this.#upkeep.run(async () => undefined);
  }

  async close(): Promise<void> {
    const logs = [...this.#entries.values()].map(({ log }) => log);
    this.#entries.clear();
    this.#arrange();
    await Promise.all(logs.map((log) => log.close()));
    // What is under way of it comes to its end; the rest finds no entry any more.
    await this.#upkeep.run(async () => undefined);
  }

  /** Has a schedule for each expression that there is, and for no other. */
  #arrange(): void {
    const wanted = new Set([...this.#entries.values()].map(({ policy }) => policy.schedule));
    for (const [expression, schedule] of this.#schedules) {
      if (wanted.has(expression)) continue;
      schedule.end();
      this.#schedules.delete(expression);
    }
    for (const expression of wanted) {
      if (this.#schedules.has(expression)) continue;
      try {
        this.#schedules.set(
          expression,
          scheduleRotation(expression, () => this.#rotateAll(expression)),
        );
      } catch (error) {
        // The scheduler's module may need a descriptor when none is free. The next process of an app tries again.
        this.#fault(`logs are not rotated at ${expression}`, error);
      }
    }
  }

  #rotateAll(expression: string): void {
    for (const [directory, { log, policy }] of this.#entries) {
      if (policy.schedule !== expression) continue;
      log.rotate().catch((error: unknown) => this.#fault(`${directory} not rotated`, error));
    }
  }

  #create({ directory, size }: LogPolicy): AppLog {
    return new AppLog({
      directory,
      at: this.#at,
      size,
      rotated: () => this.#maintain(directory),
      failed: (error) => this.#fault(`${directory} cannot be written`, error),
    });
  }

  #maintain(directory: string): void {
    this.#upkeep
      .run(async () => {
        const entry = this.#entries.get(directory);
        if (entry === undefined) return;
        const { log, policy } = entry;
        const newest = await log.newest();
        const at = this.#at(directory);
        await keepNewest(at, policy.keep, newest);
        await compressRotated(at, newest);
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

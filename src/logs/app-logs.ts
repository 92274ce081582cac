import type { ScheduledTask } from 'node-cron';
import type { LogSpec } from '../protocol/runner.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { nodeCron } from '../system/process/footprint.ts';
import { AppLog } from './app-log.ts';
import { compressRotated, removeOldest, removeOldestOfAll } from './archive.ts';

/** Settings of an app's log. */
type LogPolicy = Omit<LogSpec, 'overflow' | 'secrets'>;

interface Entry {
  log: AppLog;
  policy: LogPolicy;
}

/** Logs of all apps. Rotates them at their times, compresses rotated files and removes old ones. */
export class AppLogs {
  readonly #entries = new Map<string, Entry>();
  /** by cron expression */
  readonly #schedules = new Map<string, ScheduledTask>();
  readonly #allDirectories: () => Promise<string[]>;
  readonly #safeDirectory: (directory: string) => string;
  readonly #failed: (what: string, error: unknown) => void;
  /** one at a time: nobody waits for a compression */
  readonly #upkeep = new Lock();

  /**
   * @param allDirectories returns the directories of all logs on this machine, including apps that do not run
   * @param failed called with failures, and the log that they concern
   * @param safeDirectory returns a path that reaches a directory although another user may rename directories above it
   */
  constructor(
    allDirectories: () => Promise<string[]>,
    failed: (what: string, error: unknown) => void,
    safeDirectory: (directory: string) => string = (directory) => directory,
  ) {
    this.#allDirectories = allDirectories;
    this.#safeDirectory = safeDirectory;
    this.#failed = failed;
  }

  /** Returns the log in `policy.directory`, with this policy from now on. There is one writer per directory. */
  get(policy: LogPolicy): AppLog {
    const { directory } = policy;
    const known = this.#entries.get(directory);
    if (known !== undefined && isSame(known.policy, policy)) return known.log;
    const log = known?.log ?? this.#create(policy);
    log.resize(policy.size);
    this.#entries.set(directory, { log, policy });
    this.#updateSchedules();
    // A runner that was killed may have left work.
    this.#maintain(directory);
    return log;
  }

  /** Closes a log that nobody writes to for now, so that its directory can be removed. */
  async close(directory: string): Promise<void> {
    await this.#entries.get(directory)?.log.close();
  }

  /** Stops all work on a log that is about to be removed with its directory. */
  async remove(directory: string): Promise<void> {
    const entry = this.#entries.get(directory);
    this.#entries.delete(directory);
    this.#updateSchedules();
    await entry?.log.remove();
    await this.#upkeep.run(async () => undefined);
  }

  async closeAll(): Promise<void> {
    const logs = [...this.#entries.values()].map(({ log }) => log);
    this.#entries.clear();
    this.#updateSchedules();
    await Promise.all(logs.map((log) => log.close()));
    // Waits for current upkeep. Upkeep that is queued finds no entry.
    await this.#upkeep.run(async () => undefined);
  }

  #updateSchedules(): void {
    const expressions = new Set([...this.#entries.values()].map(({ policy }) => policy.schedule));
    for (const [expression, task] of this.#schedules) {
      if (expressions.has(expression)) continue;
      void task.destroy();
      this.#schedules.delete(expression);
    }
    for (const expression of expressions) {
      if (this.#schedules.has(expression)) continue;
      try {
        const rotate = () => this.#rotateAll(expression);
        const task = nodeCron().schedule(expression, rotate, { suppressMissedWarning: true });
        // A machine that was suspended at the time of a rotation makes up for it.
        task.on('execution:missed', rotate);
        this.#schedules.set(expression, task);
      } catch (error) {
        // The module may need a descriptor when none is free. The next process of an app tries again.
        this.#failed(`logs are not rotated at ${expression}`, error);
      }
    }
  }

  #rotateAll(expression: string): void {
    for (const [directory, { log, policy }] of this.#entries) {
      if (policy.schedule !== expression) continue;
      log.rotate().catch((error: unknown) => this.#failed(`${directory} not rotated`, error));
    }
  }

  #create({ directory, size }: LogPolicy): AppLog {
    return new AppLog({
      directory,
      safeDirectory: this.#safeDirectory,
      size,
      rotated: () => this.#maintain(directory),
      failed: (error) => this.#failed(`${directory} cannot be written`, error),
    });
  }

  #maintain(directory: string): void {
    this.#upkeep
      .run(async () => {
        const policy = this.#entries.get(directory)?.policy;
        if (policy === undefined) return;
        const path = this.#safeDirectory(directory);
        await removeOldest(path, policy.keep);
        await compressRotated(path);
        await removeOldestOfAll(await this.#allDirectories(), policy.maxBytes);
      })
      .catch((error: unknown) => this.#failed(`${directory} not tidied`, error));
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

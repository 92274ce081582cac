import type { LogSpec } from '../protocol/runner.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { repeat } from '../system/time/schedule.ts';
import { AppLog } from './app-log.ts';
import { compressRotated, removeOldest, removeOldestOfAll } from './archive.ts';

/** Settings of an app's log. */
type LogPolicy = Omit<LogSpec, 'overflow' | 'secrets'>;

interface Entry {
  log: AppLog;
  policy: LogPolicy;
  /** ends the rotation; undefined if scheduling failed */
  endRotation: (() => void) | undefined;
}

/** Logs of all apps. Rotates them at their times, compresses rotated files and removes old ones. */
export class AppLogs {
  readonly #entries = new Map<string, Entry>();
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
    if (known?.endRotation !== undefined && isSame(known.policy, policy)) return known.log;
    known?.endRotation?.();
    const log = known?.log ?? this.#create(policy);
    log.resize(policy.size);
    this.#entries.set(directory, { log, policy, endRotation: this.#scheduleRotation(log, policy) });
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
    entry?.endRotation?.();
    await entry?.log.remove();
    await this.#upkeep.run(async () => undefined);
  }

  async closeAll(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const { endRotation } of entries) endRotation?.();
    await Promise.all(entries.map(({ log }) => log.close()));
    // Waits for current upkeep. Upkeep that is queued finds no entry.
    await this.#upkeep.run(async () => undefined);
  }

  #scheduleRotation(log: AppLog, { directory, schedule }: LogPolicy): (() => void) | undefined {
    const rotate = () =>
      log.rotate().catch((error: unknown) => this.#failed(`${directory} not rotated`, error));
    try {
      return repeat(schedule, rotate);
    } catch (error) {
      // Loading node-cron takes a descriptor, and none may be free. The next process of the app tries again.
      this.#failed(`${directory} is not rotated at ${schedule}`, error);
      return undefined;
    }
  }

  #create({ directory, size }: LogPolicy): AppLog {
    return new AppLog({
      directory: () => this.#safeDirectory(directory),
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
  return (['size', 'schedule', 'keep', 'maxBytes'] as const).every((name) => one[name] === other[name]);
}

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists } from '../../system/fs/exists.ts';
import { isAlive, signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import { killOnError } from '../exit.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';

const script = fileURLToPath(new URL('keep-output.sh', import.meta.url));

/** Time for a keeper to begin to read, in ms. */
const beginTimeout = 2000;
/** Delay before a keeper that has ended is replaced, in ms. */
const replaceDelay = 1000;

/** Small process that waits for the death of the runner, and then saves the output of apps until the next runner reads it. */
export class Keeper {
  readonly #directory: string;
  readonly #records: ProcessRecords;
  readonly #log: (message: string) => void;
  #child: ChildProcess | undefined;
  /** true if the last keeper could not be recorded: a full disk is logged once, not each second */
  #isUnrecorded = false;

  constructor(directory: string, records: ProcessRecords, log: (message: string) => void) {
    this.#directory = directory;
    this.#records = records;
    this.#log = log;
  }

  /**
   * Waits until the keeper of an earlier runner reads all FIFOs that it will ever read. Kills a keeper that is late: two readers
   * of one FIFO would split the output between them.
   */
  async waitForEarlier(): Promise<void> {
    for (const { kind, pid } of await this.#records.alive()) {
      if (kind !== 'keeper') continue;
      const deadline = performance.now() + beginTimeout;
      const begun = () => exists(join(this.#directory, `${pid}.reading`));
      while (isAlive(-pid) && !(await begun()) && performance.now() < deadline) await sleep(5);
      if (!(await begun())) signalProcess(-pid, 'SIGKILL');
    }
  }

  start(): void {
    try {
      this.#start();
    } catch (error) {
      // `spawn` throws if memory is short.
      this.#failed(error);
      setTimeout(() => this.start(), replaceDelay).unref();
    }
  }

  /** Ends the keeper, when all apps have ended. */
  stop(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.stdin?.end('done\n');
  }

  #start(): void {
    // The keeper outlives this process, and `directory` may be a path through a descriptor of this process.
    const child = spawn('/bin/sh', [script, '.'], {
      cwd: this.#directory,
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child = child;
    const replace = () => {
      if (this.#child !== child) return;
      setTimeout(() => this.#child === child && this.start(), replaceDelay).unref();
    };
    child.on('error', (error) => {
      this.#failed(error);
      replace();
    });
    // The 'exit' event follows.
    child.stdin?.on('error', () => undefined);
    this.#record(child);
    child.on('exit', () => {
      if (child.pid !== undefined) this.#records.remove(child.pid);
      replace();
    });
  }

  /** Records the keeper for the next runner: see `waitForEarlier`. If that fails, kills it; it is started again later. */
  #record({ pid }: ChildProcess): void {
    if (pid === undefined) return;
    try {
      killOnError(pid, () => this.#records.add('keeper', '', pid));
      this.#isUnrecorded = false;
    } catch (error) {
      if (!this.#isUnrecorded) this.#failed(error);
      this.#isUnrecorded = true;
    }
  }

  #failed(error: unknown): void {
    this.#log(`the output of apps would be lost if the runner ended now: ${(error as Error).message}`);
  }
}

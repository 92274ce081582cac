import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
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
  #isStopped = false;
  /** true if the last keeper could not be started: a full disk is logged once, not each second */
  #isFailing = false;

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

  /** Starts a keeper, and another one each time that a keeper has ended, until `stop` is called. */
  async start(): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.#run();
      } catch (error) {
        const { message } = error as Error;
        if (!this.#isFailing)
          this.#log(`the output of apps would be lost if the runner ended now: ${message}`);
        this.#isFailing = true;
      }
      await sleep(replaceDelay, undefined, { ref: false });
    }
  }

  /** Ends the keeper, when all apps have ended. */
  stop(): void {
    this.#isStopped = true;
    this.#child?.stdin?.end('done\n');
  }

  /** Runs a keeper to its end. Records it for the next runner: see `waitForEarlier`. Kills it if that fails. */
  async #run(): Promise<void> {
    // The keeper outlives this process, and `directory` may be a path through a descriptor of this process.
    const child = spawn('/bin/sh', [script, '.'], {
      cwd: this.#directory,
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child = child;
    // The 'exit' event follows.
    child.stdin?.on('error', () => undefined);
    const ended = once(child, 'exit');
    const { pid } = child;
    if (pid === undefined) return void (await ended);
    killOnError(pid, () => this.#records.add('keeper', '', pid));
    this.#isFailing = false;
    await ended;
    this.#records.remove(pid);
  }
}

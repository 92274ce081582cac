import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists } from '../../system/fs/exists.ts';
import { isAlive, signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';
import { killOnError } from './spawn-captured.ts';

const script = fileURLToPath(new URL('keep-output.sh', import.meta.url));

/** How long one may take to begin, in ms. */
const begunWithin = 2000;
/** When one that has ended is replaced, in ms. */
const replacedAfter = 1000;

/** A small process that waits for our death, to read what the apps print until the next runner does. */
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
   * Waits until the one that an earlier runner has left reads all that there is to read, and cannot begin with more:
   * two who read one FIFO would tear what comes out of it.
   */
  async waitForEarlier(): Promise<void> {
    for (const { kind, pid } of await this.#records.alive()) {
      if (kind !== 'keeper') continue;
      const deadline = performance.now() + begunWithin;
      const begun = () => exists(join(this.#directory, `${pid}.reading`));
      while (isAlive(-pid) && !(await begun()) && performance.now() < deadline) await sleep(5);
      if (!(await begun())) signalProcess(-pid, 'SIGKILL');
    }
  }

  /** Nothing will be printed any more. */
  stop(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.stdin?.end('done\n');
  }

  start(): void {
    try {
      this.#start();
    } catch (error) {
      // `spawn` throws if memory is short.
      this.#log(`nobody keeps what apps print, should the runner end: ${(error as Error).message}`);
      setTimeout(() => this.start(), replacedAfter).unref();
    }
  }

  #start(): void {
    // It outlives us, and the path may be one that goes through us.
    const child = spawn('/bin/sh', [script, '.'], {
      cwd: this.#directory,
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child = child;
    const again = () => {
      if (this.#child === child)
        setTimeout(() => this.#child === child && this.start(), replacedAfter).unref();
    };
    child.on('error', (error) => {
      this.#log(`nobody keeps what apps print, should the runner end: ${error.message}`);
      again();
    });
    // Its end is heard of below.
    child.stdin?.on('error', () => undefined);
    this.#record(child);
    child.on('exit', () => {
      if (child.pid !== undefined) this.#records.remove(child.pid);
      again();
    });
  }

  /**
   * Records the keeper for the next runner: two readers of one FIFO would split the output between them. If that fails, the
   * keeper is killed and started again later.
   */
  #record({ pid }: ChildProcess): void {
    if (pid === undefined) return;
    try {
      killOnError(pid, () => this.#records.add('keeper', '', pid));
      this.#isUnrecorded = false;
    } catch (error) {
      if (!this.#isUnrecorded)
        this.#log(`the output of apps would be lost if the runner ended now: ${(error as Error).message}`);
      this.#isUnrecorded = true;
    }
  }
}

import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('fail-writes.ts', import.meta.url));

/** Which writes fail: see fail-writes.ts. */
export interface Fault {
  /** its writes are counted from 1 */
  id: string;
  process: 'server' | 'runner';
  code: 'ENOSPC' | 'EROFS' | 'EIO';
  /** the first write that fails, counted from 1 */
  from: number;
  /** whether all later writes fail, too */
  lasts: boolean;
  /** part of the path: no other write is counted */
  path?: string;
}

/** A write that was counted for a fault. */
export interface CountedWrite {
  id: string;
  n: number;
  failed: boolean;
  operation: string;
  path: string;
  /** where in our code */
  at: string[];
}

/** A disk below a home whose writes fail on demand, for a server and a runner that are started with `env`. */
export class FailingDisk {
  readonly env: Record<string, string>;
  readonly #control: string;
  #faults = 0;

  /** @param directory not in the home */
  constructor(directory: string) {
    this.#control = join(directory, 'fault');
    this.env = { NODE_OPTIONS: `--import=${preload}`, SLUICE_FAIL_WRITES: this.#control };
  }

  /** Lets writes fail from now on, until `mend`. */
  async fail(fault: Omit<Fault, 'id'>): Promise<void> {
    this.#faults += 1;
    const id = String(this.#faults);
    await writeFile(`${this.#control}.new`, JSON.stringify({ id, ...fault } satisfies Fault));
    await rename(`${this.#control}.new`, this.#control);
  }

  /** There is space again. */
  async mend(): Promise<void> {
    await rm(this.#control, { force: true });
  }

  /** The writes that were counted for the last fault. */
  async counted(): Promise<CountedWrite[]> {
    const text = await readFile(`${this.#control}.log`, 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line !== '');
    const all = lines.map((line) => JSON.parse(line) as CountedWrite);
    return all.filter(({ id }) => id === String(this.#faults));
  }

  /** The writes that the last fault has failed. */
  async failed(): Promise<CountedWrite[]> {
    return (await this.counted()).filter(({ failed }) => failed);
  }
}

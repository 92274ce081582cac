import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('fail-writes.ts', import.meta.url));

/** Selection of the writes that fail: see fail-writes.ts. */
export interface Fault {
  /** id of this fault; the writes of each fault are counted from 1 */
  id: string;
  process: 'server' | 'runner';
  code: 'ENOSPC' | 'EROFS' | 'EIO';
  /** the first write that fails, counted from 1 */
  from: number;
  /** true if all later writes fail, too */
  lasts: boolean;
  /** part of the path; writes to other paths are not counted */
  path?: string;
}

/** A write that was counted for a fault. */
export interface CountedWrite {
  id: string;
  n: number;
  failed: boolean;
  operation: string;
  path: string;
  /** place in our code that made the write */
  at: string[];
}

/** Disk whose writes below a home fail on demand, for a server and a runner that are started with `env`. */
export class FailingDisk {
  readonly env: Record<string, string>;
  readonly #control: string;
  #faults = 0;

  /** @param directory outside the home */
  constructor(directory: string) {
    this.#control = join(directory, 'fault');
    this.env = { NODE_OPTIONS: `--import=${preload}`, SLUICE_FAIL_WRITES: this.#control };
  }

  /** Makes writes fail until `mend`. */
  async fail(fault: Omit<Fault, 'id'>): Promise<void> {
    this.#faults += 1;
    const id = String(this.#faults);
    await writeFile(`${this.#control}.new`, JSON.stringify({ id, ...fault } satisfies Fault));
    await rename(`${this.#control}.new`, this.#control);
  }

  /** Makes all writes succeed again. */
  async mend(): Promise<void> {
    await rm(this.#control, { force: true });
  }

  /** Returns the writes that were counted for the last fault. */
  async counted(): Promise<CountedWrite[]> {
    const text = await readFile(`${this.#control}.log`, 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line !== '');
    const all = lines.map((line) => JSON.parse(line) as CountedWrite);
    return all.filter(({ id }) => id === String(this.#faults));
  }

  /** Returns the writes that failed because of the last fault. */
  async failed(): Promise<CountedWrite[]> {
    return (await this.counted()).filter(({ failed }) => failed);
  }
}

import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('fail-calls.ts', import.meta.url));

/** Selection of the calls that fail: see fail-calls.ts. */
export interface CallFault {
  id: string;
  /** the call, and the place in our code that makes it, such as `open runner/keeper.ts:12` */
  place: string;
  code: 'EMFILE' | 'ENFILE' | 'ENOMEM' | 'EAGAIN' | 'EIO';
  /** true if all later calls at this place fail, too */
  lasts: boolean;
}

/** A place in our code that makes calls. */
export interface CallPlace {
  place: string;
  /** true if the call fails without a free descriptor */
  needsDescriptor: boolean;
}

/** System whose calls fail on demand, for a runner that is started with `env`. */
export class FailingCalls {
  readonly env: Record<string, string>;
  readonly #control: string;
  #faults = 0;

  /** @param directory outside the home */
  constructor(directory: string) {
    this.#control = join(directory, 'fault');
    this.env = { NODE_OPTIONS: `--import=${preload}`, SLUICE_FAIL_CALLS: this.#control };
  }

  /** Makes calls fail until `mend`. */
  async fail(fault: Omit<CallFault, 'id'>): Promise<void> {
    this.#faults += 1;
    const content = JSON.stringify({ id: String(this.#faults), ...fault } satisfies CallFault);
    await writeFile(`${this.#control}.new`, content);
    await rename(`${this.#control}.new`, this.#control);
  }

  /** Makes all calls succeed again. */
  async mend(): Promise<void> {
    await rm(this.#control, { force: true });
  }

  /** Tells if a call has failed because of the last fault. */
  async isMet(): Promise<boolean> {
    return (await this.#log()).some(({ failed }) => failed === String(this.#faults));
  }

  /** Returns the places that have made calls, sorted. */
  async places(): Promise<CallPlace[]> {
    const places = new Map<string, CallPlace>();
    for (const { place, needsDescriptor = false } of await this.#log())
      if (place !== undefined) places.set(place, { place, needsDescriptor });
    return [...places.values()].sort((a, b) => (a.place < b.place ? -1 : 1));
  }

  async #log(): Promise<{ place?: string; needsDescriptor?: boolean; failed?: string }[]> {
    const text = await readFile(`${this.#control}.log`, 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line));
  }
}

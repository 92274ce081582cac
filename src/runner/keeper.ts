import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ProcessRecords } from './process-records.ts';

const script = fileURLToPath(new URL('keep-output.sh', import.meta.url));

/** When one that has ended is replaced, in ms. */
const replacedAfter = 1000;

/** A small process that waits for our death, to read what the apps print until the next runner does. */
export class Keeper {
  readonly #directory: string;
  readonly #records: ProcessRecords;
  #child: ChildProcess | undefined;

  constructor(directory: string, records: ProcessRecords) {
    this.#directory = directory;
    this.#records = records;
  }

  /** Nothing will be printed any more. */
  dismiss(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.stdin?.end('done\n');
  }

  start(): void {
    const child = spawn('/bin/sh', [script, this.#directory], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#child = child;
    child.on('error', () => undefined);
    child.stdin?.on('error', () => undefined);
    if (child.pid !== undefined) void this.#records.add('keeper', '', child.pid);
    child.on('exit', () => {
      if (child.pid !== undefined) this.#records.remove(child.pid);
      if (this.#child === child)
        setTimeout(() => this.#child === child && this.start(), replacedAfter).unref();
    });
  }
}

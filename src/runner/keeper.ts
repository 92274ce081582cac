import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { signalProcess } from '../system/processes.ts';
import type { ProcessRecords } from './process-records.ts';

const script = fileURLToPath(new URL('keep-output.sh', import.meta.url));

/** How long an earlier one may take to be gone, in ms. */
const goneWithin = 1000;

/** A small process that waits for our death, to read what the apps print until the next runner does. */
export class Keeper {
  readonly #directory: string;
  readonly #records: ProcessRecords;
  #child: ChildProcess | undefined;

  constructor(directory: string, records: ProcessRecords) {
    this.#directory = directory;
    this.#records = records;
  }

  /** Ends the one that an earlier runner has left; when this is over nobody reads. */
  async replace(): Promise<void> {
    for (const { kind, pid } of await this.#records.alive()) {
      if (kind !== 'keeper') continue;
      signalProcess(-pid, 'SIGKILL');
      await groupGone(pid);
      this.#records.remove(pid);
    }
    this.#start();
  }

  /** Nothing will be printed any more. */
  dismiss(): void {
    const child = this.#child;
    this.#child = undefined;
    child?.stdin?.end('done\n');
  }

  #start(): void {
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
      if (this.#child === child) setTimeout(() => this.#child === child && this.#start(), goneWithin).unref();
    });
  }
}

async function groupGone(pid: number): Promise<void> {
  const deadline = performance.now() + goneWithin;
  while (isThere(pid) && performance.now() < deadline) await pause(5);
}

function isThere(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
}

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson } from '../system/files.ts';
import { processStartTime } from '../system/processes.ts';

/** A process the runner started, as the next runner finds it. */
export interface ProcessRecord {
  kind: 'worker' | 'job';
  /** whose it is; empty for a job */
  key: string;
  pid: number;
  /** see processStartTime */
  startTime: string | undefined;
}

/**
 * One small file for every process that lives, so that the next runner knows what an earlier one left behind. Not
 * synced: none of it outlives a reboot.
 */
export class ProcessRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  async add(kind: ProcessRecord['kind'], key: string, pid: number): Promise<void> {
    const startTime = await processStartTime(pid);
    const record: ProcessRecord = { kind, key, pid, startTime };
    if (startTime !== undefined || process.platform !== 'linux') {
      writeFileSync(this.#path(pid), JSON.stringify(record), { mode: 0o600 });
    }
  }

  remove(pid: number): void {
    rmSync(this.#path(pid), { force: true });
  }

  /** What is still alive of what is recorded; the rest is forgotten. */
  async alive(): Promise<ProcessRecord[]> {
    const alive: ProcessRecord[] = [];
    for (const name of await readdir(this.#directory)) {
      const record = (await readJson(join(this.#directory, name))) as ProcessRecord;
      const startTime = await processStartTime(record.pid);
      if (startTime !== undefined && startTime === record.startTime) alive.push(record);
      else this.remove(record.pid);
    }
    return alive;
  }

  #path(pid: number): string {
    return join(this.#directory, `${pid}.json`);
  }
}

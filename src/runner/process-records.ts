import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../errors/app-error.ts';
import { listDirectory, readJson } from '../system/files.ts';
import { processStartTime, processStartTimeNow } from '../system/processes.ts';

/** A process the runner started, as the next runner finds it. */
export interface ProcessRecord {
  kind: 'worker' | 'background' | 'job' | 'keeper';
  /** whose it is; empty for the keeper, and for a job that is nobody's */
  key: string;
  pid: number;
  /** see processStartTime */
  startTime: string | undefined;
  /** in the environment of a job and of all that descends from it */
  mark?: string;
  /** signal that ends a background process; SIGTERM if left out */
  stopSignal?: NodeJS.Signals;
  /** what a worker has to say when it reports to the next runner */
  secret?: string;
}

/**
 * One small file for every process that lives, so that the next runner knows what an earlier one left behind. Not
 * synced: none of it outlives a reboot.
 */
export class ProcessRecords {
  readonly #directory: string;
  readonly #log: (message: string) => void;

  constructor(directory: string, log: (message: string) => void = () => undefined) {
    this.#directory = directory;
    this.#log = log;
    this.#makeDirectory();
  }

  /**
   * Records a process that was just started. A process without a record is unknown to the next runner, so a caller that
   * cannot record it must end it.
   * @param more `mark`: see job-remains.ts
   * @throws the error of the system
   */
  add(
    kind: ProcessRecord['kind'],
    key: string,
    pid: number,
    more: Pick<ProcessRecord, 'mark' | 'secret' | 'stopSignal'> = {},
  ): void {
    const startTime = processStartTimeNow(pid);
    const record: ProcessRecord = { kind, key, pid, startTime, ...more };
    if (startTime === undefined && process.platform === 'linux') return;
    try {
      this.#write(record);
    } catch (error) {
      this.remove(pid);
      throw error;
    }
  }

  #write(record: ProcessRecord): void {
    const write = () => writeFileSync(this.#path(record.pid), JSON.stringify(record), { mode: 0o600 });
    try {
      write();
    } catch (error) {
      // The directory may have been removed.
      if (systemCode(error) !== 'ENOENT') throw error;
      this.#makeDirectory();
      write();
    }
  }

  #makeDirectory(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** Removes a record. A record that stays is harmless: `alive` compares the start time. */
  remove(pid: number): void {
    this.#remove(this.#path(pid));
  }

  /** Removes the record of a process that has ended, but not the record of a later process with the same pid. */
  forget({ pid, startTime }: ProcessRecord): void {
    if (this.get(pid)?.startTime === startTime) this.remove(pid);
  }

  #remove(path: string): void {
    try {
      rmSync(path, { force: true });
    } catch (error) {
      this.#log(`a record of a process was not removed: ${(error as Error).message}`);
    }
  }

  /** What is recorded of a process, alive or not; undefined where nothing is. */
  get(pid: number): ProcessRecord | undefined {
    try {
      return JSON.parse(readFileSync(this.#path(pid), 'utf8')) as ProcessRecord;
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** Returns all records, of living and of ended processes. */
  async all(): Promise<ProcessRecord[]> {
    const paths = (await listDirectory(this.#directory)).map((name) => join(this.#directory, name));
    return (await Promise.all(paths.map(readRecord))).filter((record) => record !== undefined);
  }

  /** What is still alive of what is recorded; the rest is forgotten. */
  async alive(): Promise<ProcessRecord[]> {
    const alive: ProcessRecord[] = [];
    // Gone, where somebody has taken it away: then nothing is recorded.
    for (const name of await listDirectory(this.#directory)) {
      const path = join(this.#directory, name);
      const record = await readRecord(path);
      const startTime = record && (await processStartTime(record.pid));
      if (record && startTime !== undefined && startTime === record.startTime) alive.push(record);
      else this.#remove(path);
    }
    return alive;
  }

  /** What lives of one kind and target that is not among `ours`: what an earlier runner has left. */
  async left(
    kind: ProcessRecord['kind'],
    key: string,
    ours: ReadonlySet<number | null>,
  ): Promise<ProcessRecord[]> {
    return (await this.alive()).filter(
      (record) => record.kind === kind && record.key === key && !ours.has(record.pid),
    );
  }

  #path(pid: number): string {
    return join(this.#directory, `${pid}.json`);
  }
}

/** Undefined where it was not written whole: its writer was killed, or the disk was full. */
async function readRecord(path: string): Promise<ProcessRecord | undefined> {
  try {
    return (await readJson(path)) as ProcessRecord;
  } catch {
    return undefined;
  }
}

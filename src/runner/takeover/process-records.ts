import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hasCode } from '../../errors/app-error.ts';
import { listDirectory } from '../../system/fs/files.ts';
import { temporaryBeside } from '../../system/fs/temporaries.ts';
import { processStartTime } from '../../system/process/processes.ts';

/** Record of a process that the runner has started, for the next runner. */
export interface ProcessRecord {
  kind: 'worker' | 'background' | 'job' | 'keeper' | 'holder';
  /** key of the environment; empty for the keeper, the holder of ports, and jobs of the home's owner */
  key: string;
  pid: number;
  /** see processStartTime */
  startTime: string | undefined;
  /** mark in the environment of the process and of all its descendants */
  mark?: string;
  /** signal that ends a background process or an exec worker; SIGTERM if left out */
  stopSignal?: NodeJS.Signals;
  /** true if the processes of an exec worker get the message `'shutdown'` in place of the signal */
  shutdownWithMessage?: true;
  /** secret by which a worker identifies itself to the next runner */
  secret?: string;
  /** limits of a worker in ms: see GenerationSpec */
  drainTimeout?: number;
  killTimeout?: number;
  /** true for a shell that runs a command; the processes of an exec worker report in its place */
  exec?: true;
  /** pids of these processes, as they have named them */
  members?: number[];
  /** time, on `bootClock`, at which a worker retired; left out before that */
  retiredAt?: number;
}

/** Returns ms of a clock that all processes share until the machine restarts, and that nobody can set. */
export function bootClock(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

/** Records of all processes that live, one small file each. The files are not synced: no process outlives a reboot. */
export class ProcessRecords {
  readonly #directory: string;
  readonly #log: (message: string) => void;
  /** pids of the processes that this runner has started */
  readonly #own = new Set<number>();

  constructor(directory: string, log: (message: string) => void = () => undefined) {
    this.#directory = directory;
    this.#log = log;
    this.#makeDirectory();
  }

  /**
   * Records a process that was just started. A caller that cannot record a process must end it, because the next runner would
   * not know of it.
   * @param more `mark`: see src/runner/jobs/marked.ts
   * @throws the error of the system
   */
  add(kind: ProcessRecord['kind'], key: string, pid: number, more: Partial<ProcessRecord> = {}): void {
    const startTime = processStartTime(pid);
    const record: ProcessRecord = { ...more, kind, key, pid, startTime };
    if (startTime === undefined && process.platform === 'linux') return;
    try {
      // The directory may have been removed.
      this.#makeDirectory();
      writeFileSync(this.#path(pid), JSON.stringify(record), { mode: 0o600 });
      this.#own.add(pid);
    } catch (error) {
      this.remove(pid);
      throw error;
    }
  }

  /**
   * Notes that a worker accepts no requests from now on, so that later runners know how long it may drain. Keeps the time of an
   * earlier call. Without the note, for example on a full disk, the worker may drain longer.
   */
  noteRetired(pid: number): void {
    this.#change(pid, 'retirement', ({ retiredAt = bootClock() }) => ({ retiredAt }));
  }

  /** Notes the processes that will report in place of an exec worker: the next runner waits for them. */
  noteMembers(pid: number, members: number[]): void {
    this.#change(pid, 'list of members', () => ({ members }));
  }

  #change(pid: number, what: string, change: (record: ProcessRecord) => Partial<ProcessRecord>): void {
    const temporary = temporaryBeside(this.#path(pid));
    try {
      const record = this.get(pid);
      if (record === undefined) return;
      const changed = JSON.stringify({ ...record, ...change(record) });
      if (changed === JSON.stringify(record)) return;
      writeFileSync(temporary, changed, { mode: 0o600 });
      renameSync(temporary, this.#path(pid));
    } catch (error) {
      this.#remove(temporary);
      this.#log(`the ${what} of process ${pid} was not recorded: ${(error as Error).message}`);
    }
  }

  #makeDirectory(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** Removes a record. A record that stays is harmless: `alive` compares the start time. */
  remove(pid: number): void {
    this.#own.delete(pid);
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

  /** Returns the record of a process, alive or not; undefined if there is none. */
  get(pid: number): ProcessRecord | undefined {
    return this.#read(`${pid}.json`);
  }

  /**
   * Reads a record; undefined for one that was not written whole, because its writer was killed or the disk was full.
   * @throws the error of the system if descriptors or memory are short
   */
  #read(name: string): ProcessRecord | undefined {
    // Others are temporary files of a runner that was killed.
    if (!/^\d+\.json$/.test(name)) return undefined;
    try {
      return JSON.parse(readFileSync(join(this.#directory, name), 'utf8')) as ProcessRecord;
    } catch (error) {
      if (hasCode(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
      return undefined;
    }
  }

  /** Returns all records, of living and of ended processes. */
  async all(): Promise<ProcessRecord[]> {
    const records = (await listDirectory(this.#directory)).map((name) => this.#read(name));
    return records.filter((record) => record !== undefined);
  }

  /** Returns the records of processes that live, and removes records that were not written whole. */
  alive(): Promise<ProcessRecord[]> {
    return this.#aliveExcept(new Set());
  }

  /** Returns the records of living processes, and does not read those of `pids`. */
  async #aliveExcept(pids: Set<number>): Promise<ProcessRecord[]> {
    const alive: ProcessRecord[] = [];
    for (const name of await listDirectory(this.#directory)) {
      if (pids.has(Number(name.replace('.json', '')))) continue;
      const record = this.#read(name);
      const startTime = record && processStartTime(record.pid);
      if (record === undefined) this.#remove(join(this.#directory, name));
      // The record of an ended process stays until its leftovers have ended: see `endLeftoversOfEarlier`.
      else if (startTime !== undefined && startTime === record.startTime) alive.push(record);
      // Messages of workers are handled between two records.
      await nextTurn();
    }
    return alive;
  }

  /** Returns the records of living processes of an environment that earlier runners have started. */
  async ofEarlierRunners(kind: ProcessRecord['kind'], key: string): Promise<ProcessRecord[]> {
    const earlier = await this.#aliveExcept(this.#own);
    return earlier.filter((each) => each.kind === kind && each.key === key);
  }

  #path(pid: number): string {
    return join(this.#directory, `${pid}.json`);
  }
}

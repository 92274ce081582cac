import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchownSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadBoot } from '../../protocol/worker.ts';
import { describeError } from '../../system/log/log.ts';
import type { Identity } from '../users/identity.ts';

/** File system in memory: a worker writes into the table while it accepts, and must never wait for a disk. */
const memory = '/dev/shm';
/** Size of a cell in bytes, and of the id before the cells. */
const cellSize = 8;
/** Number of cells. Further workers accept whatever their siblings have. */
const mostCells = 255;

/** Place of a worker in the table; disposing of it clears its cell. */
export interface LoadPlace extends Disposable {
  /** @param fd descriptor of the table in the process */
  boot(fd: number): LoadBoot;
}

interface LoadTableOptions {
  /** user of the workers: a member of an exec worker opens the file by itself */
  user: Identity | undefined;
  log(message: string): void;
  /** number of the listening socket of the next workers: see `take` */
  socket?: number;
  directory?: string;
}

/**
 * File in memory in which the workers of a generation publish their numbers of connections: see src/worker/load-table.cjs. The
 * runner never reads it, so an app cannot mislead the runner.
 */
export class LoadTable implements Disposable {
  readonly #user: Identity | undefined;
  readonly #log: (message: string) => void;
  readonly #directory: string;
  #fd: number;
  #id = '';
  /** places that are taken; another set after `renew` */
  #taken = new Set<number>();
  #socket: number;
  #isClosed = false;

  /** @throws the error of the system */
  constructor({ user, log, socket = 0, directory = memory }: LoadTableOptions) {
    this.#user = user;
    this.#log = log;
    this.#directory = directory;
    this.#socket = socket;
    this.#fd = this.#open();
  }

  get fd(): number {
    return this.#fd;
  }

  /** Opens a new file for the table. */
  #open(): number {
    const path = join(this.#directory, `sluice-${randomBytes(8).toString('hex')}`);
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      unlinkSync(path);
      const id = randomBytes(cellSize);
      writeSync(fd, id, 0, cellSize, 0);
      if (this.#user !== undefined) fchownSync(fd, this.#user.uid, this.#user.gid);
      this.#id = id.toString('hex');
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Returns a free place; undefined if there is none.
   * @param socket number of the worker's listening socket. Workers with another socket do not accept its connections, so the
   *   first worker with a new socket begins a new table
   */
  take(socket = this.#socket): LoadPlace | undefined {
    if (socket !== this.#socket && !this.#renew(socket)) return undefined;
    const [id, taken] = [this.#id, this.#taken];
    let cell = 1;
    while (taken.has(cell)) cell += 1;
    if (cell > mostCells) return undefined;
    taken.add(cell);
    return {
      boot: (fd) => ({ fd, cell, id }),
      [Symbol.dispose]: () => {
        if (taken.delete(cell) && taken === this.#taken) this.#clear(cell);
      },
    };
  }

  /** @returns false if no memory is left: the worker then accepts whatever its siblings have */
  #renew(socket: number): boolean {
    try {
      const fd = this.#open();
      closeSync(this.#fd);
      this.#fd = fd;
      this.#taken = new Set();
      this.#socket = socket;
      return true;
    } catch (error) {
      this.#log(`connections may be uneven, without a load table: ${describeError(error)}`);
      return false;
    }
  }

  /** Clears the cell of a worker that has ended without doing so. */
  #clear(cell: number): void {
    if (this.#isClosed) return;
    try {
      writeSync(this.#fd, Buffer.alloc(cellSize), 0, cellSize, cell * cellSize);
    } catch {
      // The app has cut the file off, and no memory is left. Siblings find out that the worker is silent.
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#fd);
  }
}

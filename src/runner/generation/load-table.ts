import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchownSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadBoot } from '../../protocol/worker.ts';
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

/**
 * File in memory in which the workers of a generation publish their numbers of connections: see src/worker/load-table.cjs. The
 * runner never reads it, so an app cannot mislead the runner.
 */
export class LoadTable implements Disposable {
  readonly fd: number;
  readonly #id = randomBytes(8);
  readonly #taken = new Set<number>();
  #isClosed = false;

  /**
   * @param user of the workers: a member of an exec worker opens the file by itself
   * @throws the error of the system
   */
  constructor(user: Identity | undefined, directory = memory) {
    const path = join(directory, `sluice-${randomBytes(8).toString('hex')}`);
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    this.fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      unlinkSync(path);
      writeSync(this.fd, this.#id, 0, cellSize, 0);
      if (user !== undefined) fchownSync(this.fd, user.uid, user.gid);
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** Returns a free place; undefined if there is none. */
  take(): LoadPlace | undefined {
    let cell = 1;
    while (this.#taken.has(cell)) cell += 1;
    if (cell > mostCells) return undefined;
    this.#taken.add(cell);
    return {
      boot: (fd) => ({ fd, cell, id: this.#id.toString('hex') }),
      [Symbol.dispose]: () => {
        if (this.#taken.delete(cell)) this.#clear(cell);
      },
    };
  }

  /** Clears the cell of a worker that has ended without doing so. */
  #clear(cell: number): void {
    if (this.#isClosed) return;
    try {
      writeSync(this.fd, Buffer.alloc(cellSize), 0, cellSize, cell * cellSize);
    } catch {
      // The app has cut the file off, and no memory is left. Siblings find out that the worker is silent.
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.fd);
  }
}

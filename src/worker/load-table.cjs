'use strict';

const { readSync, writeSync } = require('node:fs');

/** @import { LoadBoot } from '../protocol/worker.ts' */

/** Number of cells, and of the id before them, which takes the place of a cell. */
const mostCells = 256;
/** Size of a cell in bytes: the load, and the number of its changes. */
const cellSize = 8;
/** Connections beyond the load of a silent sibling that a worker accepts at first, and at most. */
const firstGrace = 2;
const longestGrace = 2 ** 20;

/**
 * File in memory that the workers of a generation share. Each worker has a cell with its number of connections, so a worker knows the
 * loads of its siblings without a message, also while no runner runs.
 *
 * A worker trusts the file as little as the app that has it open: the loads only decide which worker accepts next. An app may close
 * the descriptor and open another file with its number. So a worker writes only right after it has read the id of the file.
 */
class LoadTable {
  #fd;
  #cell;
  #id;
  #cells = new Int32Array(mostCells * (cellSize / 4));
  /** load and number of changes; the number starts anywhere, because another worker may have had the cell */
  #own = Int32Array.of(0, Math.random() * 2 ** 30);
  /** number of cells that the last reading found */
  #count = 0;
  /** number of changes of each sibling at which it was found silent */
  #silent = new Int32Array(mostCells);
  /** connections that this worker accepts beyond the load of each silent sibling */
  #grace = new Int32Array(mostCells);
  /** number of changes of each sibling at the last mark */
  #marked = new Int32Array(mostCells);
  /** true if the sibling with the least load is silent */
  isLeastSilent = false;
  /** true if the file is not the table any more */
  isLost = false;

  /** @param {LoadBoot} boot */
  constructor({ fd, cell, id }) {
    this.#fd = fd;
    this.#cell = cell;
    const bytes = Buffer.from(id, 'hex');
    this.#id = [bytes.readInt32LE(0), bytes.readInt32LE(4)];
  }

  /** Load of this worker as its siblings read it. */
  get published() {
    return /** @type {number} */ (this.#own[0]) - 1;
  }

  /**
   * Reads the loads of the siblings, and publishes the load of this worker.
   * @param {number} load -1 if this worker accepts no connections
   */
  exchange(load) {
    if (this.isLost) return;
    try {
      const length = readSync(this.#fd, this.#cells, 0, this.#cells.byteLength, 0);
      this.#count = Math.floor(length / cellSize);
      this.isLost = length < cellSize || this.#cells[0] !== this.#id[0] || this.#cells[1] !== this.#id[1];
      if (this.isLost || load === this.published) return;
      this.#own[0] = load + 1;
      this.#own[1] = /** @type {number} */ (this.#own[1]) + 1;
      writeSync(this.#fd, this.#own, 0, cellSize, this.#cell * cellSize);
    } catch {
      // The app has closed the descriptor. This worker then accepts as if it had no siblings.
      this.isLost = true;
    }
  }

  /** Returns the least load of the siblings that accept; Infinity if there are none. A silent sibling counts for more than it has. */
  least() {
    let least = Number.POSITIVE_INFINITY;
    this.isLeastSilent = false;
    if (this.isLost) return least;
    for (let cell = 1; cell < this.#count; cell += 1) {
      let load = /** @type {number} */ (this.#cells[2 * cell]) - 1;
      if (load < 0 || cell === this.#cell) continue;
      const isSilent = this.#cells[2 * cell + 1] === this.#silent[cell];
      if (isSilent) load += /** @type {number} */ (this.#grace[cell]);
      if (load >= least) continue;
      least = load;
      this.isLeastSilent = isSilent;
    }
    return least;
  }

  /**
   * Returns the mean and the least load of all workers that accept.
   * @param {number} load of this worker
   */
  spread(load) {
    let total = load;
    let count = 1;
    let least = load;
    for (let cell = 1; cell < this.#count && !this.isLost; cell += 1) {
      const its = /** @type {number} */ (this.#cells[2 * cell]) - 1;
      if (its < 0 || cell === this.#cell) continue;
      total += its;
      count += 1;
      least = Math.min(least, its);
    }
    return { mean: total / count, least };
  }

  /** Notes the state of all siblings for `noteSilent`. */
  mark() {
    for (let cell = 1; cell < this.#count; cell += 1)
      this.#marked[cell] = /** @type {number} */ (this.#cells[2 * cell + 1]);
  }

  /**
   * Counts more connections for the siblings that have not changed since `mark`, and twice as many each time, until they change.
   * @param {number} load of this worker; siblings with more connections are paused, and not silent
   */
  noteSilent(load) {
    for (let cell = 1; cell < this.#count; cell += 1) {
      const changes = /** @type {number} */ (this.#cells[2 * cell + 1]);
      const isLess = /** @type {number} */ (this.#cells[2 * cell]) - 1 < load;
      if (!isLess || changes !== this.#marked[cell]) continue;
      const grace = /** @type {number} */ (this.#grace[cell]);
      this.#grace[cell] = changes === this.#silent[cell] ? Math.min(2 * grace, longestGrace) : firstGrace;
      this.#silent[cell] = changes;
    }
  }
}

module.exports = { LoadTable, mostCells };

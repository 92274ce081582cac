'use strict';

/** @typedef {InstanceType<typeof import('./load-table.cjs').LoadTable>} LoadTable */
/** @typedef {InstanceType<typeof import('./handoff.cjs').Handoff>} Handoff */

/** Time between two checks, and between two looks at connections that have not left yet, in ms. */
const pauses = { check: 100, look: 10 };
/** Number of looks after which no worker seems to take the connections in the handoff. */
const mostLooks = 10;
/** Number of checks after a start: in all, in a row without a connection to give, and in a row without success. */
const most = { all: 600, quiet: 20, failed: 3 };
/**
 * Connections above the mean, in number and as a share of the mean, from which a worker starts by itself, and number of calls of
 * `startIfUneven` for which it then waits: perhaps its connections cannot move.
 */
const uneven = { number: 1, share: 0.1, wait: 4 };
/** Number of connections that a worker gives in one check: a sibling needs up to 80 ms for as many. */
const batch = 32;

/**
 * Evens out idle connections: after a worker has joined its siblings, which all get the same message, and if a worker has clearly more
 * connections than the mean, because a sibling had no processor when they came, or other clients have left. A worker that has more
 * connections than the mean gives half of the excess into the handoff with each check. A worker takes connections only while it has
 * fewer than the mean, or if all workers have the same number.
 *
 * No connection stays in the handoff: if it is not empty for about 100 ms, all workers take from it, also what they have given.
 */
class EvenOut {
  #options;
  #random;
  /** checks that are left in all, and without a connection to give */
  #left = { all: 0, quiet: 0 };
  /** number of checks in a row whose connections no sibling has taken */
  #failed = 0;
  /** number of looks in a row at connections that have not left yet */
  #looks = 0;
  /** @type {any[]} connections that the last check has given */
  #given = [];
  #takes = true;
  /** number of calls of `startIfUneven` that do nothing */
  #waits = 0;
  /** true if this worker takes until the next check, however many connections it has */
  #takesAll = false;
  /** @type {NodeJS.Timeout | undefined} */
  #later;

  /**
   * @param {object} options
   * @param {LoadTable} options.table
   * @param {Pick<Handoff, 'isEmpty' | 'stop'>} options.handoff that this worker takes from
   * @param {() => void} options.take lets the worker take from the handoff again
   * @param {() => number | undefined} options.load returns the number of connections; undefined if the worker does not accept now
   * @param {() => any[]} options.idle returns the connections that can move
   * @param {(sockets: any[]) => void} options.give puts connections into the handoff
   * @param {() => number} [options.random] returns a number from 0 to 1
   */
  constructor({ random = Math.random, ...options }) {
    this.#options = options;
    this.#random = random;
  }

  /** A worker has joined. */
  start() {
    this.#left = { all: most.all, quiet: most.quiet };
    this.#failed = 0;
    if (this.#later !== undefined) return;
    this.#takes = true;
    this.#takesAll = false;
    this.#countExcess();
    // A worker that the new one replaces gives its connections first.
    this.#checkAfter(pauses.check);
  }

  /** Starts if this worker has clearly more connections than the mean. Called with each heartbeat. */
  startIfUneven() {
    if (this.#later !== undefined) return;
    if (this.#waits > 0) {
      this.#waits -= 1;
      return;
    }
    const { load, mean } = this.#compare();
    if (load - mean <= Math.max(uneven.number, mean * uneven.share)) return;
    this.#waits = uneven.wait;
    this.start();
  }

  /** Takes all that comes from now on, because the worker is about to leave. */
  finish() {
    if (this.#later !== undefined) this.#end();
  }

  /** Ends all this, because the worker leaves, and takes nothing any more. */
  stop() {
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#given = [];
    this.#looks = 0;
  }

  /** Called after each connection that this worker has taken. */
  taken() {
    if (this.#later !== undefined) this.#countExcess();
  }

  /** @param {number} ms */
  #checkAfter(ms) {
    this.#later = setTimeout(() => this.#check(), ms);
    this.#later.unref();
  }

  #check() {
    this.#later = undefined;
    const { load, handoff } = this.#options;
    if (load() === undefined) return this.stop();
    // Copies of connections that have left are closed soon.
    const isBusy = !handoff.isEmpty || this.#given.some(({ destroyed }) => !destroyed);
    this.#looks = isBusy ? this.#looks + 1 : 0;
    if (isBusy && this.#looks < mostLooks) {
      this.#countExcess();
      return this.#checkAfter(pauses.look);
    }
    if (isBusy) this.#takeAll();
    else this.#give();
    const { all, quiet } = this.#left;
    if (all === 0 || quiet === 0 || this.#failed === most.failed) this.#end();
    else this.#checkAfter(pauses.check);
  }

  #takeAll() {
    this.#looks = 0;
    this.#failed += 1;
    this.#given = [];
    this.#takesAll = true;
    this.#setTaking(true);
  }

  #give() {
    const { idle, give } = this.#options;
    if (this.#given.length > 0) this.#failed = 0;
    this.#takesAll = false;
    const half = this.#countExcess() / 2;
    // If many workers have less than one connection above the mean, only some of them give one.
    const count = half >= 0.5 || this.#random() < half ? Math.min(Math.ceil(half), batch) : 0;
    this.#given = count > 0 ? idle().slice(0, count) : [];
    const hasGiven = this.#given.length > 0;
    this.#left = { all: this.#left.all - 1, quiet: hasGiven ? most.quiet : this.#left.quiet - 1 };
    if (hasGiven) give(this.#given);
  }

  #end() {
    this.stop();
    this.#takesAll = true;
    this.#setTaking(true);
  }

  /** Publishes the number of connections, and returns it with the mean and the least number of all workers. */
  #compare() {
    const { table } = this.#options;
    const load = this.#options.load() ?? 0;
    table.exchange(load);
    return { load, ...table.spread(load) };
  }

  /** Takes or not, and returns the number of connections above the mean; 0 if no sibling has clearly fewer. */
  #countExcess() {
    const { load, mean, least } = this.#compare();
    const isEven = load - least <= 1;
    this.#setTaking(isEven || load < mean || this.#takesAll);
    return isEven ? 0 : Math.max(0, load - mean);
  }

  /** @param {boolean} takes */
  #setTaking(takes) {
    if (takes === this.#takes) return;
    this.#takes = takes;
    if (takes) this.#options.take();
    else this.#options.handoff.stop();
  }
}

module.exports = { EvenOut };

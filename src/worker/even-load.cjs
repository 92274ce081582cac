'use strict';

/** @typedef {InstanceType<typeof import('./load-table.cjs').LoadTable>} LoadTable */

/** Interval between two looks at the loads while connections wait and this worker has paused, in ms. */
const lookInterval = 1;
/**
 * Number of looks, while connections wait, after which a sibling with an unchanged load counts as silent: if connections are long,
 * if they are short, and each further time. Looks count, not time: on a busy machine, siblings can run between two looks.
 */
const patience = { long: 8, short: 2, next: 3 };
/** Number of connections that a worker accepts before it looks at the loads again, if no sibling accepts or the least loaded is silent. */
const freeBatch = 3;
/** Connections by which a worker may exceed its siblings if all connections are short. */
const shortLead = 16;
/** Shortest and longest time over which accepted connections are measured, in ms, and the fewest for a share of short connections. */
const measured = { shortest: 50, longest: 100, fewest: 4 };

/**
 * Returns the number of connections above the least load of the siblings at which a worker stops accepting. A burst allows a lead, so
 * that it does not wait for checks of the loads. Connections that arrive more slowly allow none.
 * @param {number} least load of the siblings
 * @param {{ count: number, shortShare: number }} recent connections that the worker has accepted recently
 */
function leadOver(least, { count, shortShare }) {
  return Math.min(least >> 5, (count >> 4) ** 2) + Math.round(shortLead * shortShare ** 2);
}

/**
 * Measures the connections that a worker has accepted recently: their number, and the share that closes again soon. Short connections
 * need no even load, and must not cost more.
 */
class Recent {
  #now;
  #start = Number.NEGATIVE_INFINITY;
  #loadAtStart = 0;
  #accepted = 0;
  /** connections of the previous measurement; 0 if they were few */
  #before = 0;
  /** from 0 to 1 */
  shortShare = 0;

  /** @param {() => number} now in ms */
  constructor(now) {
    this.#now = now;
  }

  /** Number of connections within 50 to 100 ms: in the previous measurement or in the current one, whichever has more; 0 if that is long ago. */
  get count() {
    const isOver = this.#now() - this.#start >= measured.longest;
    return isOver ? 0 : Math.max(this.#before, this.#accepted);
  }

  /** Counts an accepted connection. @param {number} load including the connection */
  accepted(load) {
    this.#accepted += 1;
    const now = this.#now();
    const elapsed = now - this.#start;
    if (elapsed < measured.shortest) return;
    const isMeasured = elapsed < measured.longest && this.#accepted >= measured.fewest;
    // Much less load means that older connections have closed, and says nothing about these.
    const difference = Math.abs(load - this.#loadAtStart);
    this.shortShare = isMeasured ? Math.max(0, 1 - difference / this.#accepted) : 0;
    this.#before = isMeasured ? this.#accepted : 0;
    this.#start = now;
    this.#loadAtStart = load;
    this.#accepted = 0;
  }
}

/**
 * Pauses the acceptor of a worker while a sibling has fewer connections. Workers share one listening socket, and without this class the
 * first worker to wake up would accept most of a burst.
 *
 * A paused worker watches the socket without accepting. If connections wait, the worker looks at the loads again, until it may
 * accept.
 *
 * After about 10 ms in which a sibling has changed nothing although connections waited, this worker accepts 2 connections more
 * than the sibling has, 3 ms later 4 more, then 8: a sibling that is stuck or dead must not keep connections waiting.
 */
class EvenLoad {
  #table;
  #acceptor;
  #load;
  #recent;
  /** @type {() => Watcher | undefined} */
  #openWatcher;
  /** @type {Watcher | undefined} */
  #watcher;
  #isPaused = false;
  #isStopped = false;
  /** load up to which this worker accepts without looking at its siblings */
  #room = -1;
  /** number of looks since connections wait for this paused worker */
  #looks = 0;
  /** @type {NodeJS.Timeout | undefined} */
  #look;

  /**
   * @param {object} options
   * @param {LoadTable} options.table
   * @param {{ pause(): void, resume(): void }} options.acceptor
   * @param {() => Watcher | undefined} options.openWatcher called with the first pause
   * @param {() => number} options.load returns the number of connections
   * @param {() => number} [options.now] in ms
   */
  constructor({ table, acceptor, openWatcher, load, now = () => performance.now() }) {
    this.#table = table;
    this.#acceptor = acceptor;
    this.#openWatcher = openWatcher;
    this.#load = load;
    this.#recent = new Recent(now);
    table.exchange(load());
  }

  /** Called after each accepted connection. */
  accepted() {
    const load = this.#load();
    this.#recent.accepted(load);
    if (load > this.#room) this.#decide(load);
    else this.#publish(load);
  }

  /** Called after each closed connection, and after each one that another process has accepted. */
  changed() {
    // The room was measured with the connections that this worker had, and its siblings may have lost theirs as well.
    this.#room -= 1;
    this.#publish(this.#load());
  }

  /** Accepts from now on whatever the siblings have: this worker leaves, or closes its acceptor. */
  stop() {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#resume();
    this.#table.exchange(-1);
  }

  /** Publishes the load if it differs enough from the published one. @param {number} load */
  #publish(load) {
    if (this.#isStopped) return;
    const { published } = this.#table;
    const tolerated = leadOver(published, this.#recent) >> 1;
    if (Math.abs(load - published) > tolerated) this.#table.exchange(load);
  }

  /** @param {number} load */
  #decide(load) {
    if (this.#isStopped) return;
    this.#table.exchange(load);
    const least = this.#table.least();
    const room = least + leadOver(least, this.#recent);
    // No sibling stops this worker for long, but one that starts or runs again gets its share.
    const isFree = least === Number.POSITIVE_INFINITY || this.#table.isLeastSilent;
    this.#room = isFree ? Math.min(room, load + freeBatch) : room;
    if (load > this.#room) this.#pause();
    else this.#resume();
  }

  #pause() {
    // Before version 20.3, Node.js accepts all that waits at once, and each accept ends the pause.
    if (this.#isPaused) return this.#acceptor.pause();
    this.#watcher ??= this.#openWatcher();
    if (this.#watcher === undefined) return;
    this.#isPaused = true;
    this.#acceptor.pause();
    this.#watch();
  }

  #resume() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    clearTimeout(this.#look);
    this.#look = undefined;
    this.#looks = 0;
    this.#watcher?.stop();
    this.#acceptor.resume();
  }

  #watch() {
    const isWatched = this.#watcher?.start(() => this.#noteWaiting());
    // Without a watcher, connections could wait for ever.
    if (!isWatched) this.#resume();
  }

  /** Decides again, because a connection waits. */
  #noteWaiting() {
    this.#decide(this.#load());
    if (!this.#isPaused) return;
    if (this.#looks === 0) this.#table.mark();
    this.#look = setTimeout(() => this.#lookAgain(), lookInterval);
    this.#look.unref();
  }

  #lookAgain() {
    this.#look = undefined;
    this.#looks += 1;
    const { long, short, next } = patience;
    const needed = this.#table.isLeastSilent ? next : long - (long - short) * this.#recent.shortShare;
    if (this.#looks >= needed) {
      const load = this.#load();
      this.#table.exchange(load);
      this.#table.noteSilent(load);
      this.#looks = 0;
    }
    this.#decide(this.#load());
    if (!this.#isPaused) return;
    this.#watch();
    // If a connection still waits, the watcher reports it in the next round of the event loop.
    const reset = () => {
      if (this.#look === undefined) this.#looks = 0;
    };
    setImmediate(() => setImmediate(reset));
  }
}

/**
 * @typedef {object} Watcher
 * @property {(found: () => void) => boolean} start calls `found` once when a connection waits; returns false if it cannot
 * @property {() => void} stop
 */

/**
 * Returns a watcher of a listening socket, which accepts nothing. The handle has a copy of the socket and tries to read from it: libuv
 * reports the failure when a connection waits, and then stops.
 * @param {any} handle
 * @returns {Watcher}
 */
function watcherOf(handle) {
  const { fd } = handle;
  handle.unref();
  return {
    start(found) {
      handle.onread = found;
      // A handle that has failed to read must be opened again.
      return handle.open(fd) === 0 && handle.readStart() === 0;
    },
    stop: () => void handle.readStop(),
  };
}

/**
 * Lets a listening handle pause. Node.js and libuv have no call for that, but a handle that reads stops watching its descriptor at
 * `readStop`. The handle never reads: it still accepts when the descriptor is ready.
 * @param {any} handle
 */
function pausable(handle) {
  return {
    pause() {
      handle.readStart();
      handle.readStop();
    },
    resume: () => void handle.readStart(),
  };
}

module.exports = { EvenLoad, Recent, leadOver, pausable, watcherOf };

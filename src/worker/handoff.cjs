'use strict';

const { readFileSync } = require('node:fs');
const { Giver, refuse } = require('./giver.cjs');
const { Taker } = require('./taker.cjs');

/** @typedef {import('./giver.cjs').Given} Given */
/** @typedef {{ take: number, give: number }} Ends descriptors */

/** The kind of a pipe that carries handles: PipeConstants.IPC of Node.js. */
const ipc = 2;

/** Time after its last movement during which a handoff counts as in use, in ms, if the system does not report its content. */
const quietPeriod = 100;

/**
 * A socket pair through which the workers of one app pass connections to each other. Each worker has both ends of the
 * pair. Each message is one write with one handle, and the kernel ends a read behind a handle, so a reader gets whole
 * messages. The kernel gives each handle to one reader: the process that takes a connection out is its only owner.
 *
 * Handles never go to the runner: a Node.js that reads handles aborts when it receives one that it does not know, such
 * as the descriptor of a file. Here that ends a worker of the app that sent it.
 */
class Handoff {
  #ends;
  #Pipe;
  #isLost;
  /** @type {InstanceType<typeof Giver> | undefined} */
  #giver;
  /** @type {InstanceType<typeof Taker> | undefined} */
  #taker;
  #movedAt = performance.now();
  /** true if this worker has given or taken */
  #isUsed = { give: false, take: false };

  /**
   * @param {Ends} ends
   * @param {any} Pipe see channel.cjs
   * @param {() => boolean} isLost returns true if the app has closed an end: the worker then gives and takes nothing
   */
  constructor(ends, Pipe, isLost = () => false) {
    this.#ends = ends;
    this.#Pipe = Pipe;
    this.#isLost = isLost;
  }

  /** Opens both ends before a switch needs them: this takes some milliseconds. */
  prepare() {
    if (this.#isLost()) return;
    this.#openGiver();
    this.#openTaker();
  }

  #openGiver() {
    this.#giver ??= new Giver(openPipe(this.#ends.give, this.#Pipe));
    return this.#giver;
  }

  #openTaker() {
    this.#taker ??= new Taker(openPipe(this.#ends.take, this.#Pipe));
    return this.#taker;
  }

  /**
   * Puts a connection into the handoff, after the connections that wait. Waits while the handoff is full.
   * @param {Given} given
   */
  give(given) {
    if (!this.#isUsed.give && this.#isLost()) return refuse(given);
    this.#isUsed.give = true;
    this.#movedAt = performance.now();
    this.#openGiver().give(given);
  }

  /**
   * Passes on a connection that was taken out of another handoff, or of this one.
   * @param {any} handle
   */
  pass(handle) {
    this.give({ handle, given: () => handle.close(), failed: undefined });
  }

  /**
   * Takes connections from now on.
   * @param {(handle: any) => void} taken
   */
  take(taken) {
    if (!this.#isUsed.take && this.#isLost()) return;
    this.#isUsed.take = true;
    this.#movedAt = performance.now();
    this.#openTaker().start((/** @type {any} */ handle) => {
      this.#movedAt = performance.now();
      taken(handle);
    });
  }

  /** Stops taking connections, from this instant on. */
  stop() {
    this.#taker?.stop();
  }

  /** true if the handoff has connections that this worker must take */
  get hasToTake() {
    return this.#taker?.takes === true && !this.#isPairEmpty();
  }

  /** Number of connections that this worker has yet to put in. */
  get waiting() {
    return this.#giver?.waiting ?? 0;
  }

  /** Closes the connections that still wait for a full handoff, and those that would be put in later. */
  drop() {
    this.#giver?.drop();
  }

  /** true if this worker will put no connection in */
  get isGiverIdle() {
    return this.waiting === 0;
  }

  /** true if no connection is in the handoff, and this worker will put none in */
  get isEmpty() {
    return this.isGiverIdle && this.#isPairEmpty();
  }

  /** Returns true if the kernel holds no connection in the pair. */
  #isPairEmpty() {
    const count = countDescriptors(this.#ends.take);
    return count === undefined ? performance.now() - this.#movedAt > quietPeriod : count === 0;
  }
}

/**
 * @param {number} fd
 * @param {any} Pipe
 */
function openPipe(fd, Pipe) {
  const pipe = new Pipe(ipc);
  // Node.js 18.12 throws and returns undefined; later versions return an error number.
  const error = pipe.open(fd);
  if (error) throw new Error(`the handoff cannot be opened: ${error}`);
  return pipe;
}

/**
 * Counts the descriptors that wait in a socket, without taking one.
 * @param {number} fd
 * @returns {number | undefined} undefined if the system does not report it, or if Node.js may not read it
 */
function countDescriptors(fd) {
  try {
    const [, count] = /^scm_fds:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
    return count === undefined ? undefined : Number(count);
  } catch {
    return undefined;
  }
}

module.exports = { Handoff, ipc };

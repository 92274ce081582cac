'use strict';

const { Socket } = require('node:net');

/** Pause before a refused connection is tried again, in ms. The kernel limits the descriptors of a user in socket pairs. */
const retryPause = 10;
/** Longest time to try a refused connection, in ms. */
const retryPatience = 10_000;

/** Text that is sent with each handle. Workers of earlier versions send other numbers with copies that must not be taken. */
const message = '0\n';

/**
 * @typedef {object} Given
 * @property {any} handle undefined once the connection is closed
 * @property {() => void} given called when the handle is in the handoff: our own copy must be closed
 * @property {(() => void) | undefined} failed called if that is impossible; without `failed`, the worker tries for ever
 */

/** End of a handoff that connections are put into. */
class Giver {
  /** @type {Given[]} the first one is being written */
  #waiting = [];
  /** true while a connection is being written, or waits */
  #isBusy = false;
  #socket;
  /** ends the delay of the close of the connection that is being written */
  #endDelay = () => {};
  /** true if connections are closed instead */
  #isDropped = false;
  /** time since when no connection could be put in; undefined if the last one could */
  #refusedSince = /** @type {number | undefined} */ (undefined);

  /** @param {any} pipe */
  constructor(pipe) {
    const write = pipe.writeUtf8String;
    pipe.writeUtf8String = (/** @type {any} */ request, /** @type {string} */ text) => {
      const handle = this.#waiting[0]?.handle;
      this.#endDelay = delayClose(handle);
      if (request !== null) this.#intercept(request, pipe);
      // Node.js takes a handle as third argument, which a socket never passes.
      const result = write.call(pipe, request, text, handle);
      // Node.js 26.9 and 24.22 create the request in the call and return it. A number is an error, as in other versions.
      if (typeof result === 'object') this.#intercept(result, pipe);
      else if (result !== 0) this.#endDelay();
      return result;
    };
    this.#socket = new Socket(
      /** @type {any} */ ({ handle: pipe, readable: false, writable: true, manualStart: true }),
    );
    this.#socket.unref();
    // The pipe is closed; `#next` checks for that.
    this.#socket.on('error', () => {
      this.#endDelay();
      this.#next();
    });
  }

  /** @param {Given} given */
  give(given) {
    if (this.#isDropped) return given.given();
    this.#waiting.push(given);
    if (!this.#isBusy) this.#next();
  }

  /** Number of connections that are not in the handoff yet. */
  get waiting() {
    return this.#isDropped ? 0 : this.#waiting.length;
  }

  /** Closes the connections that wait, and later ones: nobody takes them. */
  drop() {
    this.#isDropped = true;
    // The first one is being written, and closes after that.
    const rest = this.#isBusy ? this.#waiting.slice(0, 1) : [];
    for (const { given } of this.#waiting) given();
    this.#waiting = rest;
  }

  /**
   * Handles the end of a write before Node.js does.
   * @param {any} request
   * @param {any} pipe
   */
  #intercept(request, pipe) {
    // Node.js sets it before the write, or after.
    let complete = request.oncomplete;
    const completed = (/** @type {number} */ status) => {
      this.#endDelay();
      // `request.handle` is the sent handle here. Node.js would take its owner for the socket that was written to.
      request.handle = pipe;
      // A socket whose write has failed is destroyed, and the descriptor with it. This one is to be written to again.
      complete.call(request, 0);
      this.#wrote(status === 0);
    };
    const set = (/** @type {(status: number) => void} */ next) => {
      complete = next;
    };
    Object.defineProperty(request, 'oncomplete', { get: () => completed, set });
  }

  #next() {
    this.#isBusy = false;
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined) return;
      if (next.handle !== undefined && !this.#socket.destroyed) {
        this.#isBusy = true;
        this.#socket.write(message);
        return;
      }
      this.#waiting.shift();
      refuse(next);
    }
  }

  /** @param {boolean} isIn */
  #wrote(isIn) {
    const now = performance.now();
    this.#refusedSince = isIn ? undefined : (this.#refusedSince ?? now);
    const [given] = this.#waiting;
    const isLate = this.#refusedSince !== undefined && now - this.#refusedSince >= retryPatience;
    if (!isIn && (!isLate || given?.failed === undefined)) {
      setTimeout(() => this.#next(), retryPause);
      return;
    }
    this.#waiting.shift();
    if (isIn) given?.given();
    else given?.failed?.();
    this.#next();
  }
}

/**
 * Returns a connection that cannot be put into the handoff to its worker, or closes it if no worker serves it.
 * @param {Given} given
 */
function refuse({ handle, failed }) {
  if (failed !== undefined) failed();
  else handle?.close();
}

/**
 * Delays the close of a handle until the write that sends the handle ends. The write waits while the handoff is full, and Node.js
 * would read freed memory after a close.
 * @param {any} handle
 * @returns {() => void} ends the delay, and closes the handle if its owner has closed it meanwhile
 */
function delayClose(handle) {
  const { close, reset } = handle;
  /** @type {unknown[] | undefined} arguments of the delayed call */
  let delayed;
  handle.close = (/** @type {unknown[]} */ ...args) => {
    delayed = args;
  };
  handle.reset = handle.close;
  return () => {
    Object.assign(handle, { close, reset });
    if (delayed !== undefined) handle.close(...delayed);
  };
}

module.exports = { Giver, message, refuse };

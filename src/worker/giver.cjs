'use strict';

const { fstatSync } = require('node:fs');
const { Socket } = require('node:net');

/** Pause before a refused connection is tried again, in ms. The kernel limits the descriptors of a user in socket pairs. */
const retryPause = 10;
/** Longest time to try a refused connection, in ms. */
const retryPatience = 10_000;
/** Number of connections that are put in within one turn of the event loop. */
const batch = 32;

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
  #pipe;
  /** false if the app has opened something else with the descriptor */
  #isSocket;
  #Request = requestClass();
  /** @type {Given[]} */
  #waiting = [];
  /** @type {Given | undefined} connection whose write waits, because the handoff is full or refuses the connection */
  #blocked;
  /** true if a later event continues: a turn of the event loop, the end of a write, or a timer */
  #isDue = false;
  /** true if connections are closed instead */
  #isDropped = false;
  /** time since when no connection could be put in; undefined if the last one could */
  #refusedSince = /** @type {number | undefined} */ (undefined);

  /** @param {any} pipe */
  constructor(pipe) {
    this.#pipe = pipe;
    this.#isSocket = fstatSync(pipe.fd).isSocket();
    pipe.unref();
  }

  /** @param {Given} given */
  give(given) {
    if (this.#isDropped) return given.given();
    this.#waiting.push(given);
    this.#continueIn(process.nextTick);
  }

  /** Number of connections that are not in the handoff yet. */
  get waiting() {
    if (this.#isDropped) return 0;
    return this.#waiting.length + (this.#blocked === undefined ? 0 : 1);
  }

  /** Closes the connections that wait, and later ones: nobody takes them. */
  drop() {
    this.#isDropped = true;
    // The handle of the one whose write waits closes after that write.
    this.#blocked?.given();
    for (const { given } of this.#waiting.splice(0)) given();
  }

  /** @param {(next: () => void) => unknown} later */
  #continueIn(later) {
    if (this.#isDue) return;
    this.#isDue = true;
    later(() => {
      this.#isDue = false;
      this.#next();
    });
  }

  #next() {
    for (let count = 0; count < batch && this.#blocked === undefined && !this.#isDue; count += 1) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      if (next.handle === undefined) refuse(next);
      else this.#write(next);
    }
    if (this.#blocked === undefined && this.#waiting.length > 0) this.#continueIn(setImmediate);
  }

  /** @param {Given} given */
  #write(given) {
    const pipe = this.#pipe;
    const { handle } = given;
    // Node.js 26.9 and 24.22 report such a fault to nobody but their own sockets.
    if (!this.#isSocket || !(handle.fd >= 0)) return refuse(given);
    let request = this.#Request && new this.#Request();
    const result = pipe.writeUtf8String(request ?? null, message, handle);
    // These versions also create the request in the call and return it. A number is an error, as in other versions.
    if (typeof result === 'object') request = result;
    else if (result !== 0) return refuse(given);
    // The kernel has the descriptor.
    if (pipe.writeQueueSize === 0) return this.#wrote(given, true);
    this.#blocked = given;
    const endDelay = delayClose(handle);
    request.oncomplete = (/** @type {number} */ status) => {
      endDelay();
      this.#blocked = undefined;
      this.#wrote(given, status === 0);
      this.#next();
    };
  }

  /** @param {Given} given @param {boolean} isIn */
  #wrote(given, isIn) {
    if (isIn || this.#isDropped) {
      this.#refusedSince = undefined;
      return given.given();
    }
    const now = performance.now();
    this.#refusedSince ??= now;
    const isLate = now - this.#refusedSince >= retryPatience;
    if (isLate && given.failed !== undefined) return given.failed();
    this.#waiting.unshift(given);
    this.#continueIn((next) => setTimeout(next, retryPause));
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

/**
 * Returns the class of the requests to write to a handle, which Node.js gives to no one but handles.
 * @returns {any} undefined if handles create their requests themselves
 */
function requestClass() {
  let found;
  const handle = {
    writeUtf8String(/** @type {any} */ request) {
      found = request?.constructor;
      return -1;
    },
    close() {},
  };
  const socket = new Socket(
    /** @type {any} */ ({ handle, readable: false, writable: true, manualStart: true }),
  );
  socket.on('error', () => undefined);
  socket.write(message);
  return found;
}

module.exports = { Giver, message, refuse };

'use strict';

const { closeSync, openSync } = require('node:fs');
const { Socket } = require('node:net');
const { message } = require('./giver.cjs');

/** Least number of free descriptors with which a worker takes connections, and number that it counts at most. */
const reserve = { least: 32, counted: 64 };
/** Number of free descriptors that the app may use up before the worker counts them again. */
const slack = 24;
/** Time before a worker counts its free descriptors again, in ms: while it takes connections, and while it has too few. */
const recount = { taking: 1000, full: 100 };

/** Number of connections that a worker takes in one turn of the event loop, so that other workers get their share. */
const batch = 8;

/** End of a handoff that connections are taken out of. The first process that reads gets a connection. */
class Taker {
  #pipe;
  takes = false;
  #count = 0;
  /** number of connections that the worker may take before it counts its free descriptors again */
  #allowed = 0;
  /** @type {(handle: any) => void} */
  #taken = () => undefined;
  /** @type {NodeJS.Timeout | undefined} */
  #later;

  /** @param {any} pipe */
  constructor(pipe) {
    this.#pipe = pipe;
    const socket = new Socket(
      /** @type {any} */ ({
        handle: pipe,
        readable: true,
        writable: false,
        manualStart: true,
        onread: {
          // A read that fills the buffer is not the last one in a turn of the event loop.
          buffer: Buffer.alloc(message.length),
          callback: (/** @type {number} */ length, /** @type {Buffer} */ bytes) => {
            this.#read(bytes.toString('latin1', 0, length));
            return true;
          },
        },
      }),
    );
    socket.unref();
    socket.on('error', () => undefined);
  }

  // A socket's `resume` and `pause` take effect in a later tick if one follows the other.
  /** @param {(handle: any) => void} taken */
  start(taken) {
    this.#taken = taken;
    this.takes = true;
    this.#start();
  }

  stop() {
    this.takes = false;
    clearTimeout(this.#later);
    this.#pipe.readStop();
  }

  /** Counts the free descriptors, and takes connections if there are enough. */
  #start() {
    const free = countFreeDescriptors(reserve.counted);
    // The kernel drops a connection if this process has no free descriptor.
    if (free < reserve.least) return this.#pause(recount.full);
    this.#allowed = free - slack;
    this.#pipe.readStart();
    this.#startAfter(recount.taking);
  }

  /** @param {string} text */
  #read(text) {
    const handle = this.#pipe.pendingHandle;
    this.#pipe.pendingHandle = undefined;
    this.#count += 1;
    this.#allowed -= 1;
    if (handle?.constructor.name === 'TCP' && text === message) this.#taken(handle);
    else handle?.close();
    if (this.#count % batch === 0 || this.#allowed === 0) this.#endTurn();
  }

  /** Takes no more in this turn of the event loop. */
  #endTurn() {
    if (!this.takes) return;
    this.#pipe.readStop();
    setImmediate(() => {
      if (!this.takes) return;
      if (this.#allowed > 0) this.#pipe.readStart();
      else this.#start();
    });
  }

  /** @param {number} ms */
  #pause(ms) {
    this.#pipe.readStop();
    this.#startAfter(ms);
  }

  /** @param {number} ms */
  #startAfter(ms) {
    clearTimeout(this.#later);
    this.#later = setTimeout(() => this.#start(), ms);
    this.#later.unref();
  }
}

/** Counts the descriptors that this process may still open. @param {number} most */
function countFreeDescriptors(most) {
  /** @type {number[]} */
  const opened = [];
  try {
    while (opened.length < most) opened.push(openSync('/dev/null', 'r'));
    return most;
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    // With the permission model of Node.js, an app may open no file.
    return code === 'EMFILE' || code === 'ENFILE' ? opened.length : most;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

module.exports = { Taker };

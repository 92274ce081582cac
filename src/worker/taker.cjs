'use strict';

const { closeSync, openSync } = require('node:fs');
const { Socket } = require('node:net');
const { message } = require('./giver.cjs');

/** Longer than any message, in bytes. */
const longest = 64;

/** Least number of free descriptors with which a worker takes connections. */
const reserve = 32;
/** Time before a worker counts its free descriptors again, in ms: while it takes connections, and while it has too few. */
const recount = { taking: 1000, full: 100 };

/** Number of connections after which a worker pauses, and the pause in ms, so that other workers get their share. */
const batch = { size: 8, pause: 1 };

/** End of a handoff that connections are taken out of. The first process that reads gets a connection. */
class Taker {
  #pipe;
  takes = false;
  #count = 0;
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
          // A read that does not fill the buffer is the last one in a turn of the event loop, so the worker keeps serving.
          buffer: Buffer.alloc(longest),
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

  #start() {
    // The kernel drops a connection if this process has no free descriptor.
    if (!hasFreeDescriptors(reserve)) {
      this.#pause(recount.full);
      return;
    }
    this.#pipe.readStart();
    this.#startAfter(recount.taking);
  }

  /** @param {string} text */
  #read(text) {
    const handle = this.#pipe.pendingHandle;
    this.#pipe.pendingHandle = undefined;
    this.#count += 1;
    if (handle?.constructor.name === 'TCP' && text === message) this.#taken(handle);
    else handle?.close();
    if (this.#count % batch.size === 0) this.#pause(batch.pause);
  }

  /** @param {number} ms */
  #pause(ms) {
    if (!this.takes) return;
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

/** @param {number} count */
function hasFreeDescriptors(count) {
  /** @type {number[]} */
  const opened = [];
  try {
    while (opened.length < count) opened.push(openSync('/dev/null', 'r'));
    return true;
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    // With the permission model of Node.js, an app may open no file.
    return code !== 'EMFILE' && code !== 'ENFILE';
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

module.exports = { Taker };

'use strict';

/** Time until the server gets idle connections, in ms, and number of them that it gets each time. */
const idle = { pause: 20, count: 8 };
/** Number of turns of the event loop in which a worker does nothing but take connections, if there are always more of them. */
const mostTurns = 32;

/**
 * Connections that have arrived through a handoff and wait until the server gets them: those first whose client has sent a request.
 * The server needs more time for a connection than the handoff. So no request waits until the server has got the idle connections
 * that have arrived before its own.
 */
class Arrivals {
  /** @type {Set<any>} */
  #waiting = new Set();
  /** @type {any[]} connections that this worker does not read from yet */
  #unread = [];
  #give;
  #added;
  /** @type {NodeJS.Timeout | undefined} */
  #later;

  /**
   * @param {(handle: any, received?: Buffer) => void} give gives a connection, and the bytes read from it, to the server
   * @param {() => void} [added] called when connections have come, once for those that come together
   */
  constructor(give, added = () => undefined) {
    this.#give = give;
    this.#added = added;
  }

  get size() {
    return this.#waiting.size;
  }

  /** @param {any} handle */
  add(handle) {
    // An idle connection does not keep the process of an app that has closed its server.
    handle.unref();
    this.#waiting.add(handle);
    this.#unread.push(handle);
    if (this.#unread.length === 1) this.#readSoon(mostTurns);
    this.#later ??= setTimeout(() => this.#giveIdle(), idle.pause).unref();
  }

  /**
   * Takes the connections to a listening handle, from the second one on, as if they came through a handoff. So the code for a handoff has
   * run before the first one: when it runs for the first time, it takes several times as long.
   * @param {any} handle
   * @returns {() => void} ends this
   */
  takeFrom(handle) {
    const { onconnection } = handle;
    let isFirst = true;
    handle.onconnection = (/** @type {number} */ status, /** @type {any} */ client) => {
      if (isFirst || !client) onconnection.call(handle, status, client);
      else this.add(client);
      isFirst = false;
    };
    return () => {
      handle.onconnection = onconnection;
    };
  }

  /** Gives all connections to the server at once. */
  flush() {
    this.#unread = [];
    for (const handle of this.#waiting) this.#releaseSafely(handle);
  }

  /** Reads from new connections after a turn of the event loop without another one. @param {number} turns most turns to wait */
  #readSoon(turns) {
    const { length } = this.#unread;
    setImmediate(() => {
      if (turns > 1 && this.#unread.length > length) return this.#readSoon(turns - 1);
      this.#added();
      for (const handle of this.#unread.splice(0)) if (this.#waiting.has(handle)) this.#read(handle);
    });
  }

  /** @param {any} handle */
  #read(handle) {
    handle.onread = (/** @type {ArrayBuffer | undefined} */ bytes) => {
      if (!this.#waiting.has(handle)) return;
      if (bytes !== undefined) return this.#release(handle, Buffer.from(bytes));
      // The client has closed the connection.
      this.#waiting.delete(handle);
      handle.close();
    };
    handle.readStart();
  }

  #giveIdle() {
    this.#later = undefined;
    for (const handle of [...this.#waiting].slice(0, idle.count)) this.#releaseSafely(handle);
    if (this.#waiting.size > 0) this.#later = setTimeout(() => this.#giveIdle(), idle.pause).unref();
  }

  /** Releases a connection, and throws what a listener of the app throws only after the others have been released. @param {any} handle */
  #releaseSafely(handle) {
    try {
      this.#release(handle);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** @param {any} handle @param {Buffer} [received] */
  #release(handle, received) {
    this.#waiting.delete(handle);
    handle.readStop();
    handle.ref();
    this.#give(handle, received);
  }
}

module.exports = { Arrivals };

'use strict';

/** @typedef {import('./giver.cjs').Given} Given */
/** @typedef {{ give(given: Given): void }} Giver */

/** Time until own copies of connections that have left are closed, and number of them that are closed each time, in ms. */
const closing = { pause: 20, count: 8 };

/**
 * Connections that leave a retired worker. The worker reads nothing from them any more: data of the client waits in the kernel for
 * the next owner.
 */
class LeavingConnections {
  /** @type {any[]} */
  #waiting = [];
  /** connections that wait, or whose own copies are still open */
  #known = new Set();
  /** @type {Giver | 'unknown' | 'none'} handoff through which they leave; `none` if all connections stay */
  #giver = 'unknown';
  #stays;
  /** @type {any[]} connections in the handoff whose own copies are still open */
  #left = [];
  /** @type {NodeJS.Timeout | undefined} */
  #later;

  /** @param {() => void} stays called for each connection that could not leave */
  constructor(stays) {
    this.#stays = stays;
  }

  /** @param {any[]} sockets idle connections of an http server; known ones are ignored */
  add(sockets) {
    if (this.#giver === 'none') return;
    for (const socket of sockets) {
      if (this.#known.has(socket)) continue;
      this.#known.add(socket);
      socket._handle.readStop();
      socket.timeoutBeforeMove = socket.timeout;
      socket.setTimeout(0);
      this.#waiting.push(socket);
    }
    this.#next();
  }

  /** Holds connections that are added from now on, until `handOff` or `keep`. */
  park() {
    this.#giver = 'unknown';
  }

  /**
   * Gives away all connections, including those that become idle later, to any worker that takes them.
   * @param {Giver} giver
   */
  handOff(giver) {
    this.#giver = giver;
    this.#next();
  }

  /** Serves all connections here, except those that have left or are about to leave. */
  keep() {
    this.#giver = 'none';
    for (const socket of this.#waiting.splice(0)) this.#resume(socket);
  }

  #next() {
    const giver = this.#giver;
    if (typeof giver === 'string') return;
    for (const socket of this.#waiting.splice(0)) this.#give(socket, giver);
  }

  /** @param {any} socket @param {Giver} giver */
  #give(socket, giver) {
    giver.give({
      get handle() {
        // An app may have sent the socket to a process of its own: then `_handle` is null.
        return socket.destroyed ? undefined : (socket._handle ?? undefined);
      },
      given: () => this.#closeLater(socket),
      failed: () => {
        this.#resume(socket);
        this.#stays();
      },
    });
  }

  /** Closes our own copy of a connection that has left. The workers that get the connections need the processor first. @param {any} socket */
  #closeLater(socket) {
    this.#left.push(socket);
    this.#later ??= setTimeout(() => this.#close(), closing.pause);
  }

  #close() {
    for (const socket of this.#left.splice(0, closing.count)) {
      this.#known.delete(socket);
      socket.destroy();
    }
    this.#later = this.#left.length === 0 ? undefined : setTimeout(() => this.#close(), 1);
  }

  /** @param {any} socket */
  #resume(socket) {
    this.#known.delete(socket);
    if (socket.destroyed) return;
    socket.setTimeout(socket.timeoutBeforeMove ?? 0);
    socket._handle?.readStart();
  }
}

module.exports = { LeavingConnections };

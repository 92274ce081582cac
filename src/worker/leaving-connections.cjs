'use strict';

/** @typedef {import('./giver.cjs').Given} Given */
/** @typedef {{ give(given: Given): void }} Giver */

/**
 * Connections that leave a retired worker. The worker reads nothing from them any more: data of the client waits in the kernel for
 * the next owner.
 */
class LeavingConnections {
  /** @type {any[]} */
  #waiting = [];
  /** connections that wait, or that are given away and not yet in the handoff */
  #known = new Set();
  /** @type {Giver | 'unknown' | 'none'} handoff through which they leave; `none` if all connections stay */
  #giver = 'unknown';
  #stays;

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
      given: () => {
        this.#known.delete(socket);
        socket.destroy();
      },
      failed: () => {
        this.#resume(socket);
        this.#stays();
      },
    });
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

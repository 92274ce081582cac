'use strict';

/** @typedef {import('./giver.cjs').Given} Given */
/** @typedef {{ give(given: Given): void }} Giver */

/**
 * Connections that leave a retired worker. From the instant one is given to it nothing is read from it any more: what
 * the client sends waits in the kernel for the next owner.
 */
class Outbox {
  /** @type {any[]} */
  #waiting = [];
  /** those that wait, and those that are given and not yet in the handoff */
  #known = new Set();
  /** @type {Giver | undefined} who takes them to the next owner; undefined where it is not known yet */
  #giver;
  #leave = true;
  #stays;

  /** @param {() => void} stays told of each connection that could not leave */
  constructor(stays) {
    this.#stays = stays;
  }

  /** @param {any[]} sockets idle connections of an http server; those it has already are left alone */
  add(sockets) {
    if (!this.#leave) return;
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

  /** Nothing is read any more, and nothing leaves, before it is said what becomes of the connections. */
  park() {
    this.#leave = true;
    this.#giver = undefined;
  }

  /**
   * Gives all connections away, those too that become idle later, to whichever worker takes them.
   * @param {Giver} giver
   */
  giveAway(giver) {
    this.#leave = true;
    this.#giver = giver;
    this.#next();
  }

  /** All connections are served here, but those that have left or are about to. */
  keep() {
    this.#leave = false;
    this.#giver = undefined;
    for (const socket of this.#waiting.splice(0)) this.#resume(socket);
  }

  #next() {
    if (this.#giver !== undefined)
      for (const socket of this.#waiting.splice(0)) this.#give(socket, this.#giver);
  }

  /** @param {any} socket @param {Giver} giver */
  #give(socket, giver) {
    giver.give({
      get handle() {
        return socket.destroyed ? undefined : socket._handle;
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
    socket._handle.readStart();
  }
}

module.exports = { Outbox };

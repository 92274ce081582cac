'use strict';

/** @import { Server, Socket } from 'node:net' */

/** The connections that came through the gate and have not closed. */
class Connections {
  /** @type {Set<Socket>} */
  #open = new Set();
  /** @type {() => void} */
  #onEmpty = () => undefined;
  #forget;

  constructor() {
    const open = this.#open;
    const connections = this;
    // One function for all sockets, told by `this`: a closure each would cost every connection.
    this.#forget = /** @this {Socket} */ function forget() {
      open.delete(this);
      if (open.size === 0) connections.#onEmpty();
    };
  }

  /** @param {Socket} socket */
  add(socket) {
    this.#open.add(socket);
    socket.on('close', this.#forget);
  }

  get size() {
    return this.#open.size;
  }

  /** @param {() => void} listener called each time the last one has closed */
  whenEmpty(listener) {
    this.#onEmpty = listener;
  }

  /**
   * Those that are between two requests, or have not sent a byte yet. The server itself knows the former exactly, and
   * tells by closing them: a `destroy` of our own on each socket turns that into a list.
   * @param {Server & { closeIdleConnections?: () => void }} server an HTTP server
   * @returns {Socket[]}
   */
  idle(server) {
    /** @type {Set<any>} */
    const idle = new Set();
    for (const socket of this.#open) {
      if (socket.bytesRead === 0) idle.add(socket);
      socket.destroy = markIdle;
    }
    /** @this {Socket} */
    function markIdle() {
      idle.add(this);
      return this;
    }
    server.closeIdleConnections?.();
    // With the own property gone, the class's `destroy` shows again.
    for (const socket of this.#open) delete (/** @type {any} */ (socket).destroy);
    // A response may have been ended and still be on its way out: `finished`, which the server goes by, is early.
    return [...idle].filter(
      (socket) => !socket.destroyed && !socket._httpMessage && socket.writableLength === 0,
    );
  }
}

module.exports = { Connections };

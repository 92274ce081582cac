'use strict';

const { adopt } = require('./acceptor.cjs');

/** @import { Server } from 'node:net' */
/** @import { FromWorker } from '../protocol/worker.ts' */
/** @typedef {(message: FromWorker, handle?: unknown) => void} Post */

/**
 * Connections that leave a retired worker. From the instant one is given to it nothing is read from it any more: what
 * the client sends waits in the kernel for the next owner. They go one by one, since Node passes one handle at a time
 * and keeps no hand on those it queues.
 */
class Outbox {
  /** @type {any[]} */
  #waiting = [];
  /** @type {Map<number, any>} */
  #sent = new Map();
  /** @type {Set<any>} */
  #known = new Set();
  #nextId = 1;
  #post;

  /** @param {Post} post */
  constructor(post) {
    this.#post = post;
  }

  /** @param {any[]} sockets idle connections of an http server; those it has already are left alone */
  add(sockets) {
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

  /**
   * The new owner has it: our copy is closed, the connection lives on.
   * @param {number} connection
   */
  moved(connection) {
    const socket = this.#sent.get(connection);
    this.#sent.delete(connection);
    this.#known.delete(socket);
    socket?.destroy();
    this.#next();
  }

  /**
   * Nobody took it: it is served here, as long as its client likes.
   * @param {number} connection
   */
  kept(connection) {
    const socket = this.#sent.get(connection);
    this.#sent.delete(connection);
    if (socket !== undefined) this.#resume(socket);
    this.#next();
  }

  /** The runner is gone. What it has not confirmed stays here: the new owner lets go of what it does not know to own. */
  recall() {
    const sockets = [...this.#sent.values(), ...this.#waiting.splice(0)];
    this.#sent.clear();
    for (const socket of sockets) this.#resume(socket);
    this.#known.clear();
  }

  /** @param {any} socket */
  #resume(socket) {
    if (socket.destroyed) return;
    socket.setTimeout(socket.timeoutBeforeMove ?? 0);
    socket._handle.readStart();
  }

  #next() {
    if (this.#sent.size > 0) return;
    for (;;) {
      const socket = this.#waiting.shift();
      if (socket === undefined) return;
      if (socket.destroyed) {
        this.#known.delete(socket);
        continue;
      }
      const connection = this.#nextId++;
      this.#sent.set(connection, socket);
      this.#post({ type: 'connection', connection }, socket._handle);
      return;
    }
  }
}

/** Connections that come from a retired worker: held unread until they are ours for sure. */
class Inbox {
  /** @type {Map<number, any>} */
  #held = new Map();
  #post;

  /** @param {Post} post */
  constructor(post) {
    this.#post = post;
  }

  /** @param {number} connection @param {any} handle */
  hold(connection, handle) {
    this.#held.set(connection, handle);
    this.#post({ type: 'held', connection });
  }

  /** @param {number} connection @param {Server} server */
  take(connection, server) {
    const handle = this.#held.get(connection);
    if (handle === undefined) return;
    this.#held.delete(connection);
    adopt(server, handle);
  }

  /** Retired, or the runner gone, before it was said whose these are: they are not ours. */
  drop() {
    for (const handle of this.#held.values()) handle.close();
    this.#held.clear();
  }
}

module.exports = { Inbox, Outbox };

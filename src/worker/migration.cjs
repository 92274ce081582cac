'use strict';

const { adopt } = require('./acceptor.cjs');
const { forGood } = require('./handoff.cjs');

/** @import { Server } from 'node:net' */
/** @import { FromWorker } from '../protocol/worker.ts' */
/** @typedef {(message: FromWorker) => void} Post */
/** @typedef {{ give(move: number, socket: any, failed: () => void, given?: () => void): void }} Giver */

/** How many connections are on the move at a time: enough to hide the way there and back. */
const atATime = 16;

/**
 * Connections that leave a retired worker. From the instant one is given to it nothing is read from it any more: what
 * the client sends waits in the kernel for the next owner.
 */
class Outbox {
  /** @type {any[]} */
  #waiting = [];
  /** @type {Map<number, any>} */
  #sent = new Map();
  /** @type {Set<any>} */
  #known = new Set();
  #nextId = 1;
  /** who says where connections go: the runner; nobody yet; nobody ever, they are given away or stay here */
  #mode = /** @type {'asks' | 'parks' | 'gives' | 'stays'} */ ('asks');
  #post;
  #giver;
  #stays;

  /**
   * @param {Post} post
   * @param {Giver} giver
   * @param {() => void} stays told of each connection that could not leave
   */
  constructor(post, giver, stays) {
    this.#post = post;
    this.#giver = giver;
    this.#stays = stays;
  }

  /** @param {any[]} sockets idle connections of an http server; those it has already are left alone */
  add(sockets) {
    if (this.#mode === 'stays') return;
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
   * Another worker can take it.
   * @param {number} connection
   * @param {number} move
   */
  offer(connection, move) {
    const socket = this.#sent.get(connection);
    if (socket === undefined) return;
    this.#giver.give(move, socket, () => {
      // Taken back meanwhile, or moved.
      if (this.#sent.get(connection) !== socket) return;
      this.#post({ type: 'gone', connection });
      if (socket.destroyed) this.moved(connection);
      else this.kept(connection);
    });
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
    if (socket !== undefined) {
      this.#resume(socket);
      this.#stays();
    }
    this.#next();
  }

  /** The runner is gone, and this generation is still the active one: all connections are served here. */
  recall() {
    this.park();
    for (const socket of this.#waiting.splice(0)) this.#resume(socket);
    this.#known.clear();
    this.#mode = 'stays';
  }

  /**
   * The runner is gone, and another generation is the active one: nothing is read any more. What the runner has not
   * confirmed is still ours, for the new owner lets go of what it does not know to own.
   */
  park() {
    this.#mode = 'parks';
    this.#waiting.unshift(...this.#sent.values());
    this.#sent.clear();
  }

  /**
   * Gives all connections away, those too that become idle later, to whichever worker takes them.
   * @param {Giver} giver
   */
  giveAway(giver) {
    this.#mode = 'gives';
    this.#giver = giver;
    this.#next();
  }

  /** @param {any} socket */
  #give(socket) {
    this.#giver.give(
      forGood,
      socket,
      () => {
        this.#resume(socket);
        this.#stays();
      },
      () => socket.destroy(),
    );
  }

  /** @param {any} socket */
  #resume(socket) {
    if (socket.destroyed) return;
    socket.setTimeout(socket.timeoutBeforeMove ?? 0);
    socket._handle.readStart();
  }

  #next() {
    if (this.#mode === 'gives') for (const socket of this.#waiting.splice(0)) this.#give(socket);
    if (this.#mode !== 'asks') return;
    while (this.#sent.size < atATime) {
      const socket = this.#waiting.shift();
      if (socket === undefined) return;
      if (socket.destroyed) {
        this.#known.delete(socket);
        continue;
      }
      const connection = this.#nextId++;
      this.#sent.set(connection, socket);
      this.#post({ type: 'connection', connection });
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

  /** @param {number} move @param {any} handle */
  hold(move, handle) {
    this.#held.set(move, handle);
    this.#post({ type: 'held', move });
  }

  /** @param {number} move @param {Server} server */
  take(move, server) {
    const handle = this.#held.get(move);
    if (handle === undefined) return;
    this.#held.delete(move);
    adopt(server, handle);
  }

  /**
   * The move was given up: another worker has the connection.
   * @param {number} move
   */
  dropOne(move) {
    this.#held.get(move)?.close();
    this.#held.delete(move);
  }

  /** Retired, or the runner gone, before it was said whose these are: they are not ours. */
  drop() {
    for (const handle of this.#held.values()) handle.close();
    this.#held.clear();
  }
}

module.exports = { Inbox, Outbox };

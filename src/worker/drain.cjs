'use strict';

const connections = require('./connections.cjs');
const { endSession } = require('./end-session.cjs');
const { LeavingConnections } = require('./leaving-connections.cjs');
const { protocolOf, speaksHttp } = require('./protocol.cjs');

/** @import { Server } from 'node:net' */
/** @import { ServerHttp2Session } from 'node:http2' */
/** @typedef {InstanceType<typeof import('./worker.cjs').Worker>} Worker */

/**
 * Longest wait for the next request of an HTTP/2 session before the worker ends the session, in ms. Without TLS the client
 * is usually a proxy. It has several sessions, so its users see answers of both releases meanwhile. With TLS the client is
 * far away, and a GOAWAY costs it the requests of a whole round trip.
 */
const requestPatience = { plain: 100, encrypted: 1000 };
/** Interval between checks whether the handoffs are empty, in ms, if nothing else keeps the worker alive. */
const emptyPause = 10;

/** The end of the connections of a retired worker: they move to other workers, or end here. Reopening the worker stops it. */
class Drain {
  #worker;
  #leaving = new LeavingConnections(() => this.#retiredAt !== undefined && this.announceClose());
  #patience;
  /** time at which the worker retired; undefined while it accepts requests */
  #retiredAt = /** @type {number | undefined} */ (undefined);
  #isCloseAnnounced = false;
  /** @type {(() => void)[]} callbacks that undo the steps of this drain */
  #undo = [];
  #check = () => {};

  /** @param {Worker} worker */
  constructor(worker) {
    this.#worker = worker;
    const longest = worker.boot.drainTimeout / 2;
    this.#patience = {
      plain: Math.min(requestPatience.plain, longest),
      encrypted: Math.min(requestPatience.encrypted, longest),
    };
  }

  begin() {
    this.#retiredAt ??= performance.now();
  }

  /** Undoes all steps, because the worker accepts connections again. */
  stop() {
    this.#retiredAt = undefined;
    for (const undo of this.#undo.splice(0)) undo();
    this.#leaving.keep();
  }

  /**
   * Stops reading from connections that are idle or become idle.
   * @param {Server} server
   * @param {any[]} idle connections that are idle now
   */
  park(server, idle) {
    this.#leaving.park();
    this.#leaving.add(idle);
    const found = () => this.#leaving.add(connections.movableConnections(server));
    this.#undo.push(connections.watchForIdle(server, found));
  }

  /** Moves connections that are idle or become idle to the workers that take from the latest handoff. */
  handOff() {
    this.#leaving.handOff(this.#worker.handoffs.latest);
  }

  /** Moves connections to siblings, although this worker stays open. @param {any[]} idle */
  give(idle) {
    this.#leaving.handOff(this.#worker.handoffs.latest);
    this.#leaving.add(idle);
  }

  /** Serves connections here until they end, and closes them with the next answer. */
  keepConnections() {
    this.#leaving.keep();
    this.announceClose();
  }

  announceClose() {
    const { server } = this.#worker;
    if (server === undefined || this.#isCloseAnnounced) return;
    this.#isCloseAnnounced = true;
    this.#undo.push(() => {
      this.#isCloseAnnounced = false;
    });
    this.announceCloseOf(server);
  }

  /** @param {Server} server */
  announceCloseOf(server) {
    this.#undo.push(connections.announceClose(server, this.#worker.sessions, this.#patience));
  }

  /** Ends a session that has begun after the others were announced to close. @param {ServerHttp2Session} session */
  add(session) {
    if (this.#isCloseAnnounced) this.#undo.push(endSession(session, this.#patience));
  }

  /** Closes all connections as soon as they are idle, because the app stops: no worker will answer on them. */
  closeAll() {
    this.#patience = { plain: 0, encrypted: 0 };
    const { server } = this.#worker;
    if (server !== undefined && speaksHttp(protocolOf(server))) this.announceClose();
    for (const each of this.#worker.servers) {
      // HTTP/2 sessions have been asked to close, and close by themselves.
      if (!('closeIdleConnections' in each)) continue;
      const close = () => {
        for (const socket of connections.idleConnections(each)) socket.destroy();
      };
      close();
      this.#undo.push(connections.watchForIdle(each, close));
    }
  }

  /** @param {() => void} listener called each time no connection is left and the handoffs are empty */
  whenDrained(listener) {
    const worker = this.#worker;
    const { servers } = worker;
    /** @type {NodeJS.Timeout | undefined} */
    let later;
    this.#check = () => {
      clearTimeout(later);
      if (worker.hasOpenPorts || servers.some((/** @type {any} */ { _connections }) => _connections > 0))
        return;
      if (worker.handoffs.mayEnd) {
        worker.handoffs.affinity?.end();
        listener();
      } else later = setTimeout(() => this.#check(), emptyPause);
    };
    this.#undo.push(() => clearTimeout(later));
    for (const server of servers) this.#undo.push(connections.whenEmpty(server, this.#check));
    this.#check();
  }

  /** Checks again: a condition besides the connections has changed. */
  check() {
    this.#check();
  }

  /** Rest of `drainTimeout`, in ms. The time counts from the retirement, however many runners come and go. */
  get timeLeft() {
    const retiredFor = this.#retiredAt === undefined ? 0 : performance.now() - this.#retiredAt;
    return Math.max(0, this.#worker.boot.drainTimeout - retiredFor);
  }
}

module.exports = { Drain };

'use strict';

const { getSystemErrorMap } = require('node:util');
const { acceptFor } = require('./acceptor.cjs');

/** @import { Server } from 'node:net' */
/** @typedef {import('./listen.cjs').Listen} Listen */
/**
 * @typedef {object} Aside
 * @property {Listen} call
 * @property {any} own private handle of the server
 * @property {any} bound has the port and does not listen
 * @property {Exclude<ReturnType<typeof acceptFor>, number> | undefined} acceptor
 */

/** Pauses between tries to open a port that somebody else still has, in ms. */
const firstPause = 20;
const pauseGrowth = 1.2;
const longestPause = 1000;

/**
 * The ports and unix sockets of a worker beside the app's own port. They open with the gate, so that a release that is
 * not live serves on none of them. Ports are shared with the worker beside it and the generation after it, as
 * node:cluster would; a unix socket is taken over.
 */
class Asides {
  /** @type {Set<Aside>} */
  #asides = new Set();
  #isOpen = false;

  /** @returns {Server[]} those that still listen, as the app sees it */
  get servers() {
    return [...this.#asides].filter(isCurrent).map(({ call }) => call.server);
  }

  /**
   * Takes the port without listening on it, to find out at boot whether it can be had.
   * @param {Listen} call
   */
  add(call) {
    const bound = attempt(() => (call.reserve ?? call.bind)());
    const isTaken = typeof bound === 'number';
    // Before Node.js 22.12 ports are not shared: another worker may have it, and is waited for.
    const isShared = sharesPorts() || call.port === -1;
    if (isTaken && (isShared || describe(bound)[0] !== 'EADDRINUSE')) return fail(call, bound);
    const own = /** @type {any} */ (call.server)._handle;
    const aside = { call, own, bound: isTaken ? undefined : bound, acceptor: undefined };
    this.#asides.add(aside);
    const closeOwn = own.close;
    own.close = (/** @type {unknown} */ callback) => {
      // The acceptor has closed its handle, and nothing of the server is to be looked at any more.
      aside.acceptor = undefined;
      this.#forget(aside);
      release(call);
      return closeOwn.call(own, callback);
    };
    if (this.#isOpen) this.#open(aside);
  }

  open() {
    this.#isOpen = true;
    for (const aside of this.#asides) this.#open(aside);
  }

  /**
   * Stops accepting once the kernel has nothing that waits to be accepted, and touches no connection. Other workers are
   * open by then, and get what comes later.
   * @param {number} patience how long connections that wait are accepted, in ms
   * @param {() => void} then
   */
  shut(patience, then) {
    this.#isOpen = false;
    const latest = performance.now() + patience;
    const round = () => {
      // Opened again meanwhile.
      if (this.#isOpen) return;
      const isLate = performance.now() > latest;
      for (const aside of this.#asides) {
        if (aside.acceptor === undefined || (!isLate && aside.acceptor.isWaitedFor())) continue;
        aside.acceptor.close();
        aside.acceptor = undefined;
        release(aside.call);
      }
      if ([...this.#asides].some(({ acceptor }) => acceptor !== undefined)) setImmediate(round);
      else then();
    };
    // The first one may begin in the middle of a turn of the event loop, which then tells nothing.
    setImmediate(round);
  }

  /** @param {Aside} aside whose server the app has closed */
  #forget(aside) {
    aside.bound?.close();
    aside.bound = undefined;
    this.#asides.delete(aside);
  }

  /** @param {Aside} aside @returns {number} of an error, or 0 */
  #accept(aside) {
    const { call } = aside;
    const reserved = aside.bound;
    aside.bound = undefined;
    const bound = call.port === -1 ? call.bind(reserved) : (reserved ?? call.bind());
    if (typeof bound === 'number') return bound;
    const acceptor = acceptFor(call.server, bound, call.backlog);
    if (typeof acceptor === 'number') return acceptor;
    try {
      call.publish?.();
    } catch (error) {
      acceptor.close();
      throw error;
    }
    aside.acceptor = acceptor;
    return 0;
  }

  /** @param {Aside} aside @param {number} [pause] before the next try */
  #open(aside, pause = firstPause) {
    if (!isCurrent(aside)) {
      this.#forget(aside);
      return;
    }
    if (!this.#isOpen || aside.acceptor !== undefined) return;
    const error = attempt(() => this.#accept(aside));
    if (error === 0) return;
    const { call } = aside;
    if (pause <= longestPause && pause * pauseGrowth > longestPause) {
      const [code] = describe(error);
      const text = `sluice: ${nameOf(call)} cannot be opened (${code}); it is tried again every second\n`;
      process.stderr.write(text);
    }
    setTimeout(() => this.#open(aside, pause * pauseGrowth), Math.min(pause, longestPause)).unref();
  }
}

/**
 * @template Result
 * @param {() => Result} action
 * @returns {Result | number} an error number if it fails
 */
function attempt(action) {
  try {
    return action();
  } catch (error) {
    const { errno } = /** @type {NodeJS.ErrnoException} */ (error);
    if (errno === undefined) throw error;
    return errno;
  }
}

/**
 * Gives up the path of a unix socket. The app closes its server here, and knows nothing of our links: what cannot be
 * removed is told, and left to the next worker.
 * @param {Listen} call
 */
function release(call) {
  const error = attempt(() => call.release?.() ?? 0);
  if (error === 0) return;
  process.stderr.write(`sluice: ${nameOf(call)} cannot be removed (${describe(error)[0]})\n`);
}

/** @param {Aside} aside @returns {boolean} whether the app has not closed the server since */
function isCurrent({ call, own }) {
  return /** @type {any} */ (call.server)._handle === own;
}

function sharesPorts() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
}

/**
 * The server has failed to listen, in the way of Node.js.
 * @param {Listen} call
 * @param {number} errno
 */
function fail(call, errno) {
  const { server, port } = call;
  const address = typeof call.address === 'string' ? call.address : call.address.address;
  const [code, text] = describe(errno);
  const error = new Error(`listen ${code}: ${text} ${port === -1 ? address : `${address}:${port}`}`);
  Object.assign(error, { code, errno, syscall: 'listen', address, port });
  const listening = /** @type {any} */ (server);
  listening._handle?.close();
  listening._handle = null;
  process.nextTick(() => server.emit('error', error));
}

/** @param {Listen} call */
function nameOf({ address, port }) {
  return typeof address === 'string' ? JSON.stringify(address) : `port ${port}`;
}

/** @param {number} errno @returns {[string, string]} */
function describe(errno) {
  return getSystemErrorMap().get(errno) ?? [`error ${errno}`, 'unknown error'];
}

module.exports = { Asides };

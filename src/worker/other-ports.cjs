'use strict';

const { getSystemErrorMap } = require('node:util');
const { acceptFor } = require('./acceptor.cjs');

/** @import { Server } from 'node:net' */
/** @typedef {import('./listen.cjs').Listen} Listen */
/**
 * @typedef {object} OtherPort
 * @property {Listen} call
 * @property {any} own private handle of the server
 * @property {any} bound has the port and does not listen
 * @property {Exclude<ReturnType<typeof acceptFor>, number> | undefined} acceptor
 */

/** Pauses between attempts to open a port that another process still has, in ms. */
const firstPause = 20;
const pauseGrowth = 1.2;
const longestPause = 1000;

/**
 * Ports and unix sockets of a worker besides the app's own port. They open with the acceptor, so that only the live release
 * serves on them. A worker shares the ports with the other workers and with the next generation, as under node:cluster. It
 * takes over a unix socket from the worker before.
 */
class OtherPorts {
  /** @type {Set<OtherPort>} */
  #ports = new Set();
  #isOpen = false;

  /** @returns {Server[]} servers that still listen, as the app sees it */
  get servers() {
    return [...this.#ports].filter(isCurrent).map(({ call }) => call.server);
  }

  /**
   * Binds the port without listening on it, so that a port in use is found at boot.
   * @param {Listen} call
   */
  add(call) {
    const bound = attempt(() => (call.reserve ?? call.bind)());
    const isTaken = typeof bound === 'number';
    // Before Node.js 22.12 ports are not shared: another worker may have the port, and this worker tries again at `open`.
    const isShared = sharesPorts() || call.port === -1;
    if (isTaken && (isShared || describe(bound)[0] !== 'EADDRINUSE')) return fail(call, bound);
    const own = /** @type {any} */ (call.server)._handle;
    const port = { call, own, bound: isTaken ? undefined : bound, acceptor: undefined };
    this.#ports.add(port);
    const closeOwn = own.close;
    own.close = (/** @type {unknown} */ callback) => {
      // The acceptor has closed its handle; no code may look at the server any more.
      port.acceptor = undefined;
      this.#forget(port);
      release(call);
      return closeOwn.call(own, callback);
    };
    if (this.#isOpen) this.#open(port);
  }

  open() {
    this.#isOpen = true;
    for (const port of this.#ports) this.#open(port);
  }

  /**
   * Stops accepting on each port once no connection waits there, and touches no connection. Other workers are open by then,
   * and get later connections.
   * @param {number} patience longest time to accept waiting connections, in ms
   * @param {() => void} then
   */
  shut(patience, then) {
    this.#isOpen = false;
    const latest = performance.now() + patience;
    const round = () => {
      // The ports may have opened again meanwhile.
      if (this.#isOpen) return;
      const isLate = performance.now() > latest;
      for (const port of this.#ports) {
        if (port.acceptor === undefined || (!isLate && port.acceptor.isWaitedFor())) continue;
        port.acceptor.close();
        port.acceptor = undefined;
        release(port.call);
      }
      if ([...this.#ports].some(({ acceptor }) => acceptor !== undefined)) setImmediate(round);
      else then();
    };
    // The first round must start with a turn of the event loop: `isWaitedFor` counts the connections of a whole turn.
    setImmediate(round);
  }

  /** @param {OtherPort} port whose server the app has closed */
  #forget(port) {
    port.bound?.close();
    port.bound = undefined;
    this.#ports.delete(port);
  }

  /** @param {OtherPort} port @returns {number} of an error, or 0 */
  #accept(port) {
    const { call } = port;
    const reserved = port.bound;
    port.bound = undefined;
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
    port.acceptor = acceptor;
    return 0;
  }

  /** @param {OtherPort} port @param {number} [pause] before the next try */
  #open(port, pause = firstPause) {
    if (!isCurrent(port)) {
      this.#forget(port);
      return;
    }
    if (!this.#isOpen || port.acceptor !== undefined) return;
    const error = attempt(() => this.#accept(port));
    if (error === 0) return;
    const { call } = port;
    if (pause <= longestPause && pause * pauseGrowth > longestPause) {
      const [code] = describe(error);
      const text = `sluice: ${nameOf(call)} cannot be opened (${code}). Sluice tries again every second\n`;
      process.stderr.write(text);
    }
    setTimeout(() => this.#open(port, pause * pauseGrowth), Math.min(pause, longestPause)).unref();
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
 * Releases the path of a unix socket. The app is closing its server here and does not know our links, so an error is only
 * printed, and the next worker replaces the links.
 * @param {Listen} call
 */
function release(call) {
  const error = attempt(() => call.release?.() ?? 0);
  if (error === 0) return;
  process.stderr.write(`sluice: ${nameOf(call)} cannot be removed (${describe(error)[0]})\n`);
}

/** @param {OtherPort} port @returns {boolean} true if the app has not closed the server since */
function isCurrent({ call, own }) {
  return /** @type {any} */ (call.server)._handle === own;
}

function sharesPorts() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);
}

/**
 * Makes the server fail to listen, with the error that Node.js would emit.
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

module.exports = { OtherPorts };

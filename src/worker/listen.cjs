'use strict';

const net = require('node:net');
const { protocolOf, speaksHttp } = require('./kinds.cjs');

/** @import { AddressInfo, Server } from 'node:net' */
/**
 * @typedef {object} Listen a call of `listen` for a TCP port or a unix socket, whose port is -1
 * @property {Server} server
 * @property {number} port
 * @property {number} backlog length of the kernel's queue that the app asks for
 * @property {number} rank
 * @property {AddressInfo | string} address where the app believes that it listens
 * @property {(reserved?: any) => any} bind makes a handle that has the port and does not listen; an error number if
 *   that fails. What has been reserved is given back, or closed.
 * @property {() => any} [reserve] does the same at boot, if something else is to be done then; undefined for nothing
 * @property {() => void} [publish] called when the handle listens
 * @property {() => void} [release] called when it does no more
 * @property {(bits: number) => number} [chmod] for `readableAll` and `writableAll`
 */

/** How long the app may go on opening ports until the best one so far is taken for its own, in ms. */
const settleTime = 1000;

/** UV_TCP_REUSEPORT. Node.js before 22.12 ignores the flag. */
const reusePort = 2;

const rank = /** @type {const} */ ({ assigned: 3, configured: 2, http: 1, tcp: 0 });

const prototype = /** @type {any} */ (net.Server.prototype);
const createHandle = /** @type {any} */ (net)._createServerHandle;
const { address: realAddress } = prototype;
/**
 * The last step of each `listen`, after Node.js has read and checked the arguments and has looked up the host. Node.js
 * keeps the name because others wrap this method too.
 */
const setUpHandle = prototype._listen2;

/** @type {WeakMap<object, Listen>} private handles, by the call of `listen` that each stands in for */
const calls = new WeakMap();

/**
 * Intercepts the app's `listen`. For each TCP port the server gets a private handle, and the app believes that it
 * listens on the port. One of the calls is *the app's*: the one for PORT, else for the configured port, else the first
 * HTTP server, else the first of all. Its private handle listens on loopback, where this one worker can be asked, and
 * its connections come from the gate. All other ports open with the gate too; nobody can connect to them before.
 * Ports that the system chooses (`listen(0)`) are left alone: only the app knows them.
 *
 * @param {{ port: number, codePort: number | null, key: string }} wanted
 * @param {object} on
 * @param {(chosen: Listen) => void} on.chosen called again when a better one comes later
 * @param {(aside: Listen) => void} on.aside a listen that is not the app's
 * @param {() => void} on.forked called once if the app starts processes with node:cluster, which listen through it
 */
function interceptListen(wanted, on) {
  /** @type {Listen[]} */
  let undecided = [];
  /** @type {Listen | undefined} */
  let chosen;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {WeakSet<Server>} */
  const listened = new WeakSet();
  let isWatched = false;

  if (typeof setUpHandle !== 'function' || typeof createHandle !== 'function')
    throw new Error(`Sluice does not know how Node.js ${process.version} listens`);

  // With SCHED_NONE, a primary of node:cluster makes handles for its workers and never listens.
  /** @type {any} */ (net)._createServerHandle = function createForWorkers(/** @type {any[]} */ ...args) {
    watchForks();
    return createHandle(...args);
  };

  prototype._listen2 = function listenBehindTheGate(/** @type {any[]} */ ...args) {
    watchForks();
    const [address, port, family, backlog, fd] = args;
    if (this._handle === null && typeof fd === 'number') {
      const handle = createHandle(null, null, null, fd);
      // Node.js meets the same error, and reports it.
      if (typeof handle === 'number') return setUpHandle.apply(this, args);
      this._handle = handle;
    }
    const given = this._handle;
    const call = callFor(this, args, wanted.key);
    if (call === undefined) return setUpHandle.apply(this, args);
    if (given === null || !calls.has(given)) this._handle = standIn(call);
    // Without a handle of the app's, Node.js would find out by itself which address stands for all of them.
    const any = given === null && address === null ? believed(address) : undefined;
    setUpHandle.call(this, any?.address ?? address, port, any ? net.isIP(any.address) : family, backlog);
    if (call.port === -1) return on.aside(call);
    consider({ ...call, server: this, rank: rankOf(this, call.port) });
  };

  prototype.address = function believedAddress() {
    const call = this._handle === null ? undefined : calls.get(this._handle);
    if (call === undefined) return realAddress.call(this);
    return typeof call.address === 'string' ? call.address : { ...call.address };
  };

  function watchForks() {
    if (isWatched) return;
    isWatched = true;
    // Node.js has loaded the module by now: each `listen` asks it whether this is a primary.
    const cluster = require('node:cluster');
    if (Object.keys(cluster.workers ?? {}).length > 0) on.forked();
    else cluster.once('fork', () => on.forked());
  }

  /** @param {Server} server @param {number} port */
  function rankOf(server, port) {
    if (port === wanted.port) return rank.assigned;
    if (port === wanted.codePort) return rank.configured;
    return speaksHttp(protocolOf(server)) ? rank.http : rank.tcp;
  }

  /** @param {Listen} candidate */
  function consider(candidate) {
    if (chosen !== undefined) {
      if (candidate.port === chosen.port) {
        // The same server again, or another in the place of one that was closed: tools that look for a free port
        // listen on it and close before the app does. Or the app has passed the handle of one server to another.
        const { server } = chosen;
        if (candidate.server === server || hasClosed(server) || haveSameHandle(candidate.server, server))
          choose(candidate);
        return;
      }
      if (candidate.rank <= chosen.rank || candidate.rank < rank.configured) return on.aside(candidate);
      const former = chosen;
      choose(candidate);
      return on.aside(former);
    }
    undecided = undecided.filter(({ server }) => !haveSameHandle(server, candidate.server));
    undecided.push(candidate);
    if (candidate.rank === rank.assigned) return decide();
    clearTimeout(timer);
    timer = setTimeout(decide, settleTime);
  }

  function decide() {
    clearTimeout(timer);
    const open = undecided.filter(({ server }) => server.listening);
    undecided = [];
    const best = Math.max(...open.map((candidate) => candidate.rank));
    const own = open.find((candidate) => candidate.rank === best);
    if (own === undefined) return;
    choose(own);
    for (const other of open) if (other.port !== own.port) on.aside(other);
  }

  /** @param {Listen} own */
  function choose(own) {
    chosen = own;
    wake(own.server);
    const note = () => listened.add(own.server);
    own.server.once('listening', note);
    // Where the choice took its time, the server has said so already.
    if (own.server.listening) setImmediate(note);
    on.chosen(own);
  }

  /** @param {Server} server */
  function hasClosed(server) {
    return listened.has(server) && !server.listening;
  }
}

/** @param {any} one @param {any} other */
function haveSameHandle(one, other) {
  return one._handle !== null && one._handle === other._handle;
}

/**
 * @param {any} server
 * @param {any[]} args of `_listen2`
 * @param {string} key
 * @returns {Listen | undefined} undefined for any free port
 */
function callFor(server, [address, port, family, backlog, , flags], key) {
  if (server._handle !== null) return calls.get(server._handle) ?? callWithHandle(server, backlog);
  if (port === -1 && family === -1) {
    const { callForPath } = require('./unix-socket.cjs');
    const create = (/** @type {string} */ path) => createHandle(path, -1, -1);
    return callForPath({ server, path: address, backlog, key, createHandle: create });
  }
  if (!(port > 0)) return undefined;
  return {
    ...{ server, port, backlog, rank: 0 },
    address: { ...believed(address), port },
    bind: () => bindShared(address, port, family, flags),
  };
}

/**
 * The app has bound a handle by itself, or has inherited a descriptor.
 * @param {any} server
 * @param {number} backlog
 * @returns {Listen | undefined}
 */
function callWithHandle(server, backlog) {
  let given = server._handle;
  const address = /** @type {AddressInfo} */ ({});
  if (given.getsockname?.(address) !== 0 || !(address.port > 0)) return undefined;
  const { port } = address;
  const bind = () => {
    const handle = given ?? bindShared(address.address, port, net.isIP(address.address), 0);
    given = undefined;
    return handle;
  };
  return { server, port, backlog, rank: 0, address, bind };
}

/**
 * A handle beside those of the app's other workers, as node:cluster would share one.
 * @param {string | null} address
 * @param {number} port
 * @param {number} family
 * @param {number | undefined} flags
 */
function bindShared(address, port, family, flags) {
  const handle = createHandle(address, port, family, undefined, (flags ?? 0) | reusePort);
  if (typeof handle === 'number') return handle;
  // libuv keeps back until `listen` that the port is in use.
  const error = handle.getsockname({});
  if (error === 0) return handle;
  handle.close();
  return error;
}

/**
 * @param {string | null} address null where the app names no host
 * @returns {{ address: string, family: string }}
 */
function believed(address) {
  if (address !== null) return { address, family: `IPv${net.isIP(address)}` };
  const probe = createHandle(null, 0);
  const any = /** @type {AddressInfo} */ ({});
  probe.getsockname(any);
  probe.close();
  return { address: any.address, family: any.family };
}

/**
 * A private handle that does not listen yet: nobody can connect to it.
 * @param {Listen} call
 */
function standIn(call) {
  const handle = createHandle('127.0.0.1', 0, 4);
  if (typeof handle === 'number') throw new Error(`no private port can be had: error ${handle}`);
  handle.listen = () => 0;
  if (call.chmod !== undefined) handle.fchmod = call.chmod;
  calls.set(handle, call);
  return handle;
}

/** @param {any} server whose private handle is to listen */
function wake({ _handle: handle }) {
  if (handle === null || !Reflect.deleteProperty(handle, 'listen')) return;
  const error = handle.listen(511);
  if (error !== 0) throw new Error(`the private port cannot be listened on: error ${error}`);
}

/**
 * The port of a server's private handle.
 * @param {Server} server
 */
function privatePort(server) {
  return /** @type {AddressInfo} */ (realAddress.call(server)).port;
}

module.exports = { createHandle, interceptListen, privatePort };

'use strict';

const net = require('node:net');
const { protocolOf, speaksHttp } = require('./protocol.cjs');

/** @import { AddressInfo, Server } from 'node:net' */
/**
 * @typedef {object} Listen a call of `listen` for a TCP port or a unix socket, whose port is -1
 * @property {Server} server
 * @property {number} port
 * @property {number} backlog length of the kernel's queue, as the app sets it
 * @property {number} rank
 * @property {AddressInfo | string} address where the app believes that it listens
 * @property {(reserved?: any) => any} bind returns a handle that is bound and does not listen, or an error number. Returns the
 *   reserved handle, or closes it.
 * @property {() => any} [reserve] called at boot instead of `bind`, if given; may return undefined
 * @property {() => void} [publish] called when the handle listens
 * @property {() => void} [release] called when the handle no longer listens
 * @property {(bits: number) => number} [chmod] for `readableAll` and `writableAll`
 */

/** Time without a new `listen` after which the best port so far becomes the app's own, in ms. */
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

/** @type {WeakMap<object, Listen>} calls of `listen`, by their private handles */
const calls = new WeakMap();

/**
 * Intercepts the app's `listen`. For each TCP port the server gets a private handle, and the app believes that it
 * listens on the port. One of the calls is the app's own: the one for PORT, else for the configured port, else the first
 * HTTP server, else the first of all. Its private handle listens on loopback, where the runner checks this one worker, and
 * its connections come from the acceptor. All other ports open with the acceptor; clients cannot connect to them before.
 * Ports that the system chooses (`listen(0)`) are not intercepted: only the app knows them.
 *
 * In exec mode (`isMember`) another process may listen on the app's own port. So in this process only the calls for PORT and the
 * configured port can be the app's own. Unix sockets are not intercepted: processes of one worker talk over them.
 *
 * @param {{ port: number, codePort: number | null, key: string, isMember?: boolean }} wanted
 * @param {object} on
 * @param {(chosen: Listen) => void} on.chosen called with the app's call; called again if a better one comes later
 * @param {(call: Listen) => void} on.other called with a call for another port
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
  const { isMember = false } = wanted;
  const viaPrimary = isMember ? avoidPrimary() : undefined;

  if (typeof setUpHandle !== 'function' || typeof createHandle !== 'function')
    throw new Error(`Sluice does not support the way in which Node.js ${process.version} listens`);

  // With SCHED_NONE, a primary of node:cluster makes handles for its workers and never listens.
  if (!isMember)
    /** @type {any} */ (net)._createServerHandle = function createForWorkers(/** @type {any[]} */ ...args) {
      watchForks();
      return createHandle(...args);
    };

  prototype._listen2 = function listenPrivately(/** @type {any[]} */ ...args) {
    if (!isMember) watchForks();
    if (viaPrimary !== undefined && this._handle === viaPrimary) this._handle = null;
    const [address, port, family, backlog, fd] = args;
    if (isMember && port === -1 && family === -1) return setUpHandle.apply(this, args);
    if (this._handle === null && typeof fd === 'number') {
      const handle = createHandle(null, null, null, fd);
      // Node.js will get the same error, and report it.
      if (typeof handle === 'number') return setUpHandle.apply(this, args);
      this._handle = handle;
    }
    const given = this._handle;
    const call = callFor(this, args, wanted.key);
    if (call === undefined) return setUpHandle.apply(this, args);
    if (given === null || !calls.has(given)) this._handle = standIn(call);
    // If the app passed neither a handle nor an address, Node.js would choose the address for all interfaces by itself.
    const any = given === null && address === null ? believed(address) : undefined;
    setUpHandle.call(this, any?.address ?? address, port, any ? net.isIP(any.address) : family, backlog);
    if (call.port === -1) return on.other(call);
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
    // Node.js has loaded this module by now: each `listen` needs it to find out if this process is a primary.
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
        // The same server listens again, or a server replaces one that was closed: tools that look for a free port listen
        // on the port and close it before the app listens. Or the app has passed the handle of one server to another.
        const { server } = chosen;
        const hasClosed = listened.has(server) && !server.listening;
        if (candidate.server === server || hasClosed || haveSameHandle(candidate.server, server))
          choose(candidate);
        return;
      }
      if (candidate.rank <= chosen.rank || candidate.rank < rank.configured) return on.other(candidate);
      const former = chosen;
      choose(candidate);
      return on.other(former);
    }
    if (isMember && candidate.rank < rank.configured) {
      // Only a handle that listens keeps a process alive, and this process may have no other.
      wake(candidate.server);
      return on.other(candidate);
    }
    undecided = undecided.filter(({ server }) => !haveSameHandle(server, candidate.server));
    undecided.push(candidate);
    if (candidate.rank === rank.assigned) return decide();
    clearTimeout(timer);
    timer = setTimeout(decide, isMember ? 0 : settleTime);
  }

  function decide() {
    clearTimeout(timer);
    const open = undecided.filter(({ server }) => server.listening);
    undecided = [];
    const best = Math.max(...open.map((candidate) => candidate.rank));
    const own = open.find((candidate) => candidate.rank === best);
    if (own === undefined) return;
    choose(own);
    for (const other of open) if (other.port !== own.port) on.other(other);
  }

  /** @param {Listen} own */
  function choose(own) {
    chosen = own;
    if (isMember) watchForks();
    wake(own.server);
    const note = () => listened.add(own.server);
    own.server.once('listening', note);
    // If the choice took a while, the `listening` event has already been emitted.
    if (own.server.listening) setImmediate(note);
    on.chosen(own);
  }
}

/**
 * Lets a worker of node:cluster listen by itself: a primary would accept the connections of all its workers in their place. The
 * primary still learns that the worker listens.
 * @returns {object | undefined} value that such a server has in place of a handle; undefined if this process is no such worker
 */
function avoidPrimary() {
  if (process.send === undefined) return undefined;
  const cluster = /** @type {any} */ (require('node:cluster'));
  if (!cluster.isWorker) return undefined;
  const viaPrimary = {};
  const { _getServer: askPrimary } = cluster;
  cluster._getServer = function listenAlone(/** @type {any[]} */ ...args) {
    const [server, query, listen] = args;
    const isOwn = server instanceof net.Server && query.port > 0 && !(query.fd >= 0);
    if (!isOwn) return askPrimary.apply(this, args);
    const { worker } = cluster;
    server.once('listening', () => {
      worker.state = 'listening';
      const { port, address, addressType } = query;
      const report = { cmd: 'NODE_CLUSTER', act: 'listening', port, address, addressType };
      if (process.connected) process.send?.(report);
    });
    // The primary has asked this worker to end when its connections have ended.
    worker.once('disconnect', () => server.listening && server.close());
    listen(0, viaPrimary);
  };
  return viaPrimary;
}

/** @param {any} one @param {any} other */
function haveSameHandle(one, other) {
  return one._handle !== null && one._handle === other._handle;
}

/**
 * @param {any} server
 * @param {any[]} args of `_listen2`
 * @param {string} key
 * @returns {Listen | undefined} undefined if the system chooses the port
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
 * Makes the call of `listen` for a handle that the app has bound by itself, or for an inherited descriptor.
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
 * Binds a port next to the handles of the app's other workers, which share the port as under node:cluster.
 * @param {string | null} address
 * @param {number} port
 * @param {number} family
 * @param {number | undefined} flags
 */
function bindShared(address, port, family, flags) {
  const handle = createHandle(address, port, family, undefined, (flags ?? 0) | reusePort);
  if (typeof handle === 'number') return handle;
  // libuv reports only at `listen` that the port is in use; this call gets the error now.
  const error = handle.getsockname({});
  if (error === 0) return handle;
  handle.close();
  return error;
}

/**
 * @param {string | null} address null if the app names no host
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
 * Returns a private handle that does not listen yet, so that no client can connect.
 * @param {Listen} call
 */
function standIn(call) {
  const handle = createHandle('127.0.0.1', 0, 4);
  if (typeof handle === 'number') throw new Error(`Sluice cannot bind a private port: error ${handle}`);
  handle.listen = () => 0;
  if (call.chmod !== undefined) handle.fchmod = call.chmod;
  calls.set(handle, call);
  return handle;
}

/** @param {any} server whose private handle is to listen */
function wake({ _handle: handle }) {
  if (handle === null || !Reflect.deleteProperty(handle, 'listen')) return;
  const error = handle.listen(511);
  if (error !== 0) throw new Error(`Sluice cannot listen on the private port: error ${error}`);
}

/**
 * Returns the port of a server's private handle.
 * @param {Server} server
 */
function privatePort(server) {
  return /** @type {AddressInfo} */ (realAddress.call(server)).port;
}

module.exports = { createHandle, interceptListen, privatePort };

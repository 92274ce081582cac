'use strict';

const { closeSync, fstatSync, openSync, readSync } = require('node:fs');
const net = require('node:net');

/** @import { Server } from 'node:net' */
/** @typedef {InstanceType<typeof import('./load-table.cjs').LoadTable>} LoadTable */

/**
 * @typedef {object} Acceptor
 * @property {() => void} close stops accepting at once and touches no connection
 * @property {() => void} adopted called after the worker or its server has got a connection that another process accepted
 * @property {() => number} load returns the number of connections
 * @property {() => void} acceptAll accepts from now on, also if a sibling has fewer connections
 * @property {() => boolean} isWaitedFor returns true if connections wait to be accepted; called in each turn of the event loop
 * @property {() => void} wait from now on, accepts connections but does not give them to the server yet
 * @property {() => void} serve gives waiting and later connections to the server
 */

/**
 * Accepts connections on behalf of a server, which cannot distinguish them from its own. Node.js looks up the server of a
 * connection under a symbol on the listening handle. Here the symbol refers to the app's server. So Node.js itself applies the
 * options, limits, count and events of that server, at no cost to a connection.
 *
 * @param {any} server listens on its private handle
 * @param {any} handle bound handle; it is closed if it cannot listen
 * @param {number} backlog length of the kernel's queue, 0 for Node's default
 * @param {object} [options]
 * @param {((handle: any) => boolean) | undefined} [options.route] returns true if it has passed a connection on to another worker
 * @param {LoadTable | undefined} [options.table] loads of the workers that share the handle's socket
 * @param {() => any} [options.openCopy] returns a handle of another copy of that socket; undefined if there is none
 * @param {() => number} [options.arriving] returns the number of connections from other processes that the server has not got yet
 * @returns {Acceptor | number} an error number if the handle cannot listen
 */
function acceptFor(
  server,
  handle,
  backlog,
  { route, table, openCopy = () => undefined, arriving = () => 0 } = {},
) {
  const { _handle: own } = server;
  const error = handle.listen(backlog || 511);
  if (error !== 0) {
    handle.close();
    return error;
  }
  const { onconnection } = own;
  handle.onconnection = onconnection;
  if (route !== undefined)
    handle.onconnection = (/** @type {number} */ status, /** @type {any} */ client) => {
      if (!client || !route(client)) onconnection.call(handle, status, client);
    };
  handle[ownerSymbol(own, server)] = server;
  if (server._unref) handle.unref();
  /** @type {unknown[][]} connections that are not given to the server yet */
  const waiting = [];
  const load = () => server._connections + waiting.length + arriving();
  const even = table && evenLoad({ server, handle, table, openCopy, load });
  // An app that closes its server wants to close its port, not the private one.
  const closeOwn = own.close;
  own.close = function closeWithAcceptor(/** @type {unknown} */ callback) {
    even?.stop();
    handle.close();
    return closeOwn.call(this, callback);
  };
  let serve = () => {};
  return {
    isWaitedFor: waitingAt(handle),
    adopted: () => even?.changed(),
    load,
    acceptAll: () => even?.stop(),
    close() {
      own.close = closeOwn;
      even?.stop();
      handle.close();
      serve();
    },
    wait() {
      const { onconnection } = handle;
      handle.onconnection = (/** @type {unknown[]} */ ...args) => {
        waiting.push(args);
        even?.accepted();
      };
      serve = () => {
        handle.onconnection = onconnection;
        for (const args of waiting.splice(0)) onconnection.apply(handle, args);
      };
    },
    serve: () => serve(),
  };
}

/**
 * Lets the acceptor pause while siblings have fewer connections.
 * @param {object} options
 * @param {any} options.server
 * @param {any} options.handle of the acceptor
 * @param {LoadTable} options.table
 * @param {() => any} options.openCopy see acceptFor
 * @param {() => number} options.load
 */
function evenLoad({ server, handle, table, openCopy, load }) {
  const { EvenLoad, pausable, watcherOf } = require('./even-load.cjs');
  const openWatcher = () => {
    const copy = openCopy();
    return copy && watcherOf(copy);
  };
  const even = new EvenLoad({ table, acceptor: pausable(handle), openWatcher, load });
  const { onconnection } = handle;
  handle.onconnection = function acceptEvenly(/** @type {number} */ status, /** @type {any} */ client) {
    onconnection.call(handle, status, client);
    even.accepted();
  };
  // Node.js calls this method of the server after each close.
  const noteClose = function noteClose() {
    even.changed();
    /** @type {any} */ (net.Server.prototype)._emitCloseIfDrained.call(server);
  };
  server._emitCloseIfDrained = noteClose;
  return {
    accepted: () => even.accepted(),
    changed: () => even.changed(),
    stop() {
      if (server._emitCloseIfDrained === noteClose) Reflect.deleteProperty(server, '_emitCloseIfDrained');
      even.stop();
    },
  };
}

/**
 * Returns a function that returns true if connections wait for a handle. For a TCP port the kernel reports the number. For a unix
 * socket it does not, but Node.js accepts at least one waiting connection in each turn of the event loop.
 * @param {any} handle
 * @returns {() => boolean}
 */
function waitingAt(handle) {
  if (handle.constructor.name === 'TCP') return () => waitingConnections(handle) > 0;
  /** @type {((...args: unknown[]) => void) | undefined} */
  let accept;
  let hasAccepted = true;
  return () => {
    if (accept === undefined) {
      accept = handle.onconnection;
      handle.onconnection = (/** @type {unknown[]} */ ...args) => {
        hasAccepted = true;
        accept?.apply(handle, args);
      };
    }
    const had = hasAccepted;
    hasAccepted = false;
    return had;
  };
}

/** @param {any} handle @param {Server} owner */
function ownerSymbol(handle, owner) {
  const symbol = Object.getOwnPropertySymbols(handle).find((candidate) => handle[candidate] === owner);
  if (symbol === undefined)
    throw new Error(`Sluice does not know how Node.js ${process.version} accepts connections`);
  return symbol;
}

/**
 * Gives a connection that another process has accepted to a server, which counts it until it closes.
 * @param {any} server
 * @param {any} handle
 * @param {Buffer} [received] bytes that were read from the connection
 */
function adopt(server, handle, received) {
  const socket = /** @type {any} */ (
    new net.Socket(
      /** @type {any} */ ({
        handle,
        allowHalfOpen: server.allowHalfOpen,
        pauseOnCreate: server.pauseOnConnect,
        readable: true,
        writable: true,
        readableHighWaterMark: server.highWaterMark,
        writableHighWaterMark: server.highWaterMark,
      }),
    )
  );
  if (received !== undefined) socket.unshift(received);
  if (server.noDelay) socket.setNoDelay(true);
  if (server.keepAlive) socket.setKeepAlive(true, server.keepAliveInitialDelay * 1000);
  server._connections += 1;
  socket.server = server;
  socket._server = server;
  server.emit('connection', socket);
  closeWhenIdle(server, socket);
}

/**
 * Gives an adopted connection the timeout of a connection between two requests. Node.js takes it for a new connection: it would
 * answer 408 after `headersTimeout`.
 * @param {any} server
 * @param {any} socket
 */
function closeWhenIdle(server, socket) {
  const { parser } = socket;
  if (!parser || !(server.keepAliveTimeout > 0)) return;
  socket.setTimeout(server.keepAliveTimeout + (server.keepAliveTimeoutBuffer ?? 0));
  const { onIncoming } = parser;
  parser.onIncoming = function endIdleness(/** @type {unknown[]} */ ...args) {
    parser.onIncoming = onIncoming;
    socket.setTimeout(server.timeout);
    return onIncoming.apply(this, args);
  };
}

/** State of listening sockets, which come first in the kernel's list. */
const listens = '0A';

/**
 * Returns the number of connections that wait to be accepted on a listening socket: the kernel resets them when the socket is
 * closed. Returns 0 if the system does not report the number, or if the app has closed the socket: this call must never throw
 * in the middle of the app.
 * @param {{ fd: number }} handle
 */
function waitingConnections({ fd }) {
  if (process.platform !== 'linux' || !(fd >= 0)) return 0;
  try {
    const inode = String(fstatSync(fd).ino);
    for (const path of ['/proc/self/net/tcp', '/proc/self/net/tcp6']) {
      const waiting = find(path, inode);
      if (waiting !== undefined) return waiting;
    }
  } catch {
    // The system does not report the number, for example because no descriptor is left.
  }
  return 0;
}

/** @param {string} path @param {string} inode */
function find(path, inode) {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(64 * 1024);
    let rest = '';
    for (;;) {
      const length = readSync(file, buffer);
      const lines = (rest + buffer.toString('latin1', 0, length)).split('\n');
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        const [number, , , state, queues, , , , , owner] = line.trim().split(/\s+/);
        if (number === 'sl') continue;
        if (state !== listens) return undefined;
        if (owner === inode) return Number.parseInt(/** @type {string} */ (queues).slice(9), 16);
      }
      if (length === 0) return undefined;
    }
  } finally {
    closeSync(file);
  }
}

module.exports = { acceptFor, adopt };

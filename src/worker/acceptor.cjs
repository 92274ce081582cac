'use strict';

const net = require('node:net');
const { listen } = require('./listen.cjs');

/** @import { ListenOptions, Server } from 'node:net' */

/**
 * Accepts connections on behalf of another server, which cannot tell them from its own. Node looks up the server a
 * connection is for under a symbol on the listening handle: pointed at the app's server, all that follows (its
 * options, its limits, its count of connections, its events) is Node's own doing, at no cost to a connection.
 *
 * @param {Server} server whose connections these are
 * @param {ListenOptions & { fd?: number, reusePort?: boolean }} where
 * @returns {{ close(): void }} `close` stops accepting at once and touches no connection
 */
function acceptFor(server, where) {
  const acceptor = new net.Server();
  acceptor.on('error', (error) => server.emit('error', error));
  // An app that closes its server means its port, not the private one; 'close' would come too late, when the last
  // connection has ended.
  const closeServer = server.close;
  server.close = function closeWithAcceptor(callback) {
    acceptor.close();
    return closeServer.call(this, callback);
  };
  listen.call(acceptor, where);
  const own = () => {
    const handle = /** @type {any} */ (acceptor)._handle;
    handle[ownerSymbol(handle, acceptor)] = server;
  };
  // A host is looked up first, and there is no handle before: not yet anything that accepts, either.
  if (/** @type {any} */ (acceptor)._handle) own();
  else acceptor.once('listening', own);
  return {
    close() {
      server.close = closeServer;
      acceptor.close();
    },
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
 * A connection that another process accepted, made one of the server's own: counted until it closes.
 * @param {any} server
 * @param {any} handle
 */
function adopt(server, handle) {
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
  if (server.noDelay) socket.setNoDelay(true);
  if (server.keepAlive) socket.setKeepAlive(true, server.keepAliveInitialDelay * 1000);
  server._connections += 1;
  socket.server = server;
  socket._server = server;
  server.emit('connection', socket);
  closeWhenIdle(server, socket);
}

/**
 * To Node this is a connection that has yet to send its first request: it would stay for `headersTimeout` and be
 * answered 408 then. It is between two requests, and may stay as long as any other that is.
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

module.exports = { acceptFor, adopt };

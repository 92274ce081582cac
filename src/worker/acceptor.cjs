'use strict';

const net = require('node:net');
const { listen } = require('./listen.cjs');

/** @import { ListenOptions, Server, Socket } from 'node:net' */

/** Options of a server that decide how an accepted socket behaves; Node keeps them on the server itself. */
const socketOptions = [
  'allowHalfOpen',
  'pauseOnConnect',
  'noDelay',
  'keepAlive',
  'keepAliveInitialDelay',
  'highWaterMark',
  'blockList',
];

/**
 * Accepts connections on behalf of another server, which cannot tell them from its own: they carry its options and
 * are counted by it, so that its `close` waits for them.
 *
 * @param {Server} server whose connections these are
 * @param {ListenOptions & { fd?: number, reusePort?: boolean }} where
 * @param {(socket: Socket) => void} accepted told of each before the server is
 * @returns {{ close(): void }} `close` stops accepting at once and touches no connection
 */
function acceptFor(server, where, accepted) {
  const acceptor = /** @type {any} */ (new net.Server());
  for (const option of socketOptions) acceptor[option] = /** @type {any} */ (server)[option];
  acceptor.on('connection', (/** @type {Socket} */ socket) => {
    acceptor._connections -= 1;
    if (introduce(server, socket)) {
      accepted(socket);
      server.emit('connection', socket);
    }
  });
  acceptor.on('error', (/** @type {Error} */ error) => server.emit('error', error));
  // An app that closes its server means its port, not the private one; 'close' would come too late, when the last
  // connection has ended.
  const closeServer = server.close;
  server.close = function closeWithAcceptor(callback) {
    acceptor.close();
    return closeServer.call(this, callback);
  };
  listen.call(acceptor, where);
  return {
    close() {
      server.close = closeServer;
      acceptor.close();
    },
  };
}

/**
 * Makes a socket one of the server's own, as Node's `onconnection` does: counted until it closes.
 * @param {any} server
 * @param {any} socket
 * @returns {boolean} false where the server has as many as it wants, and the socket is dropped
 */
function introduce(server, socket) {
  if (server.maxConnections != null && server._connections >= server.maxConnections) {
    server.emit('drop', { remoteAddress: socket.remoteAddress, remotePort: socket.remotePort });
    socket._server = null;
    socket.destroy();
    return false;
  }
  server._connections += 1;
  socket.server = server;
  socket._server = server;
  return true;
}

/**
 * A connection that another process accepted.
 * @param {any} server
 * @param {any} handle
 * @returns {Socket}
 */
function socketFor(server, handle) {
  const socket = new net.Socket(
    /** @type {any} */ ({
      handle,
      allowHalfOpen: server.allowHalfOpen,
      pauseOnCreate: server.pauseOnConnect,
      readable: true,
      writable: true,
      readableHighWaterMark: server.highWaterMark,
      writableHighWaterMark: server.highWaterMark,
    }),
  );
  if (server.noDelay) socket.setNoDelay(true);
  if (server.keepAlive) socket.setKeepAlive(true, server.keepAliveInitialDelay * 1000);
  return socket;
}

module.exports = { acceptFor, introduce, socketFor };

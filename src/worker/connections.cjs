'use strict';

const net = require('node:net');

/** @import { Socket } from 'node:net' */

/**
 * The connections of an http server that are between two requests, or have not sent a byte yet. The server knows them
 * exactly, and tells by closing them: a `destroy` of our own, there for the moment, turns that into a list. So nothing
 * needs to be noted of a connection while it lives.
 * @param {any} server
 * @returns {Socket[]}
 */
function idleConnections(server) {
  const betweenRequests = listInstead(() => server.closeIdleConnections());
  const untouched = allConnections(server).filter((socket) => socket.bytesRead === 0);
  // A response may have been ended and still be on its way out: what the server goes by is early.
  return [...new Set([...betweenRequests, ...untouched])].filter(
    (socket) => !socket.destroyed && !socket._httpMessage && socket.writableLength === 0,
  );
}

/**
 * Those of them that another process can go on with. What an app has fed into its server by `emit('connection')`, and
 * is TLS or no socket at all, cannot leave.
 * @param {any} server
 * @returns {Socket[]}
 */
function movableConnections(server) {
  return idleConnections(server).filter(
    (/** @type {any} */ { _handle }) => _handle?.constructor.name === 'TCP',
  );
}

/**
 * @param {any} server of any kind; only those of HTTP/1 know their connections
 * @returns {any[]}
 */
function allConnections(server) {
  return listInstead(() => server.closeAllConnections?.());
}

/**
 * @param {() => void} closeThem
 * @returns {any[]} the sockets that would have been destroyed
 */
function listInstead(closeThem) {
  /** @type {any[]} */
  const sockets = [];
  const own = Object.getOwnPropertyDescriptor(net.Socket.prototype, 'destroy');
  net.Socket.prototype.destroy = function list() {
    sockets.push(this);
    return this;
  };
  try {
    closeThem();
  } finally {
    // With the own property gone, the inherited one shows again.
    if (own === undefined) Reflect.deleteProperty(net.Socket.prototype, 'destroy');
    else Object.defineProperty(net.Socket.prototype, 'destroy', own);
  }
  return sockets;
}

/**
 * Tells each time the last connection of a server has closed, and at once where there is none. Node asks its server
 * after every close whether it was the last.
 * @param {any} server
 * @param {() => void} listener
 * @returns {() => void} ends it
 */
function whenEmpty(server, listener) {
  server._emitCloseIfDrained = function tellWhenEmpty() {
    if (this._connections === 0) listener();
    /** @type {any} */ (net.Server.prototype)._emitCloseIfDrained.call(this);
  };
  if (server._connections === 0) listener();
  return () => Reflect.deleteProperty(server, '_emitCloseIfDrained');
}

module.exports = { allConnections, idleConnections, movableConnections, whenEmpty };

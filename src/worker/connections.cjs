'use strict';

const { channel } = require('node:diagnostics_channel');
const net = require('node:net');
const { endSession } = require('./end-session.cjs');

/** @import { ServerHttp2Session } from 'node:http2' */
/** @import { Server, Socket } from 'node:net' */
/** @import { Patience } from './end-session.cjs' */

/**
 * Returns the connections of an http server that are between two requests, or have not sent a byte yet.
 * @param {any} server
 * @returns {Socket[]}
 */
function idleConnections(server) {
  const betweenRequests = listed(server, 'idle', () => server.closeIdleConnections());
  const untouched = allConnections(server).filter((socket) => socket.bytesRead === 0);
  // A response that has ended may still be on its way out: the server already counts its connection as idle.
  return [...new Set([...betweenRequests, ...untouched])].filter(
    (socket) => !socket.destroyed && !socket._httpMessage && socket.writableLength === 0,
  );
}

/**
 * Returns the idle connections that can move to another process: not TLS connections and other streams, which an app may pass to
 * its server by `emit('connection')`.
 * @param {any} server
 * @returns {Socket[]}
 */
function movableConnections(server) {
  return idleConnections(server).filter(
    (/** @type {any} */ { _handle }) => _handle?.constructor.name === 'TCP',
  );
}

/**
 * Returns all connections of a server; none if the server does not speak HTTP/1.
 * @param {any} server
 * @returns {any[]}
 */
function allConnections(server) {
  return listed(server, 'all', () => server.closeAllConnections?.());
}

/**
 * Returns connections of a server from Node's own list of them, so that no record of a connection is needed while it lives. The list
 * has no public name. If a version of Node.js has another name for it, `closeThem` finds the connections: see `listInstead`.
 * @param {any} server
 * @param {'all' | 'idle'} which method of the list
 * @param {() => void} closeThem public call for the same connections
 * @returns {any[]}
 */
function listed(server, which, closeThem) {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections',
  );
  if (symbol === undefined) return listInstead(closeThem);
  return (server[symbol]?.[which]() ?? []).map((/** @type {any} */ { socket }) => socket);
}

/**
 * Runs a call that destroys sockets, and returns these sockets instead. V8 then discards the compiled code of everything that uses
 * sockets, because their `destroy` changes.
 * @param {() => void} closeThem
 * @returns {any[]}
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
    // `destroy` is inherited.
    if (own === undefined) Reflect.deleteProperty(net.Socket.prototype, 'destroy');
    else Object.defineProperty(net.Socket.prototype, 'destroy', own);
  }
  return sockets;
}

/**
 * Closes all connections of servers, whatever is in flight on them: also WebSockets, which an http server does not know any more.
 * @param {Server[]} servers
 * @param {Iterable<ServerHttp2Session>} sessions open sessions of HTTP/2
 */
function cutConnections(servers, sessions) {
  for (const session of sessions) session.destroy();
  // Node.js keeps no other list of sockets. It emits no warning for this call.
  const handles = /** @type {any[]} */ (/** @type {any} */ (process)._getActiveHandles());
  for (const socket of handles)
    if (socket instanceof net.Socket && servers.includes(/** @type {any} */ (socket).server))
      socket.destroy();
}

/**
 * Calls a listener each time the last connection of a server has closed, and at once if there is none. Node.js calls this method
 * of the server after each close.
 * @param {any} server
 * @param {() => void} listener
 * @returns {() => void} removes the listener
 */
function whenEmpty(server, listener) {
  server._emitCloseIfDrained = function checkAfterClose() {
    if (this._connections === 0) listener();
    /** @type {any} */ (net.Server.prototype)._emitCloseIfDrained.call(this);
  };
  if (server._connections === 0) listener();
  return () => Reflect.deleteProperty(server, '_emitCloseIfDrained');
}

/**
 * Calls `found` when connections of an http server have become idle. Used by retired workers only, so that requests cost nothing
 * before.
 * @param {Server} server
 * @param {() => void} found
 * @returns {() => void} stops it
 */
function watchForIdle(server, found) {
  let due = false;
  const check = () => {
    due = false;
    found();
  };
  // The connection is idle once Node.js has handled the event. Nothing more is read before the next tick.
  const checkSoon = () => {
    if (!due) process.nextTick(check);
    due = true;
  };
  // An app may answer before it has read the body, for example to refuse an upload. The connection is not idle before the end
  // of the body.
  for (const { _httpMessage: response, parser } of allConnections(server)) {
    if (!response && parser?.incoming?.complete === false) parser.incoming.once('end', checkSoon);
  }
  return subscribe('http.server.response.finish', server, ({ request }) => {
    if (request.complete) checkSoon();
    else request.once('end', checkSoon);
  });
}

/**
 * Ends connections that cannot move to another process: HTTP/1 connections with the next response, and HTTP/2 sessions with a GOAWAY
 * after the next request. An idle connection stays open, since the client may be writing.
 * @param {Server} server
 * @param {Set<ServerHttp2Session>} sessions of HTTP/2
 * @param {Patience} patience for the next request of a session
 * @returns {() => void} stops it
 */
function announceClose(server, sessions, patience) {
  const unsubscribe = subscribe('http.server.request.start', server, ({ response }) => {
    response.shouldKeepAlive = false;
  });
  const callOffs = [...sessions].map((session) => endSession(session, patience));
  // Responses in flight can announce the close too, unless their headers are sent.
  for (const { _httpMessage: response } of allConnections(server)) {
    if (response && !response.headersSent) response.shouldKeepAlive = false;
  }
  return () => {
    unsubscribe();
    for (const callOff of callOffs) callOff();
  };
}

/**
 * Subscribes to one of Node's diagnostics channels for the messages of one server.
 * @param {string} name
 * @param {Server} server
 * @param {(message: any) => void} listener
 * @returns {() => void} unsubscribes
 */
function subscribe(name, server, listener) {
  const subscriber = (/** @type {any} */ message) => {
    if (message.server === server) listener(message);
  };
  const subscribed = channel(name);
  subscribed.subscribe(subscriber);
  return () => {
    subscribed.unsubscribe(subscriber);
  };
}

module.exports = {
  allConnections,
  announceClose,
  cutConnections,
  idleConnections,
  movableConnections,
  subscribe,
  watchForIdle,
  whenEmpty,
};

'use strict';

const { channel } = require('node:diagnostics_channel');
const net = require('node:net');
const { endSession } = require('./end-session.cjs');

/** @import { ServerHttp2Session } from 'node:http2' */
/** @import { Server, Socket } from 'node:net' */
/** @import { Patience } from './end-session.cjs' */

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

/**
 * Finds connections of an http server as they become idle, from now on; done while retiring only, so that a request
 * costs nothing before.
 * @param {Server} server
 * @param {() => void} found
 * @returns {() => void} ends it
 */
function watchForIdle(server, found) {
  let due = false;
  const look = () => {
    due = false;
    found();
  };
  // The connection counts as idle once Node has done its own part after the event, and before anything more is read.
  const lookSoon = () => {
    if (!due) process.nextTick(look);
    due = true;
  };
  // Many a request is answered before its body is there, a refused upload above all: it is over when that is too.
  for (const { _httpMessage: response, parser } of allConnections(server)) {
    if (!response && parser?.incoming?.complete === false) parser.incoming.once('end', lookSoon);
  }
  return subscribe('http.server.response.finish', server, ({ request }) => {
    if (request.complete) lookSoon();
    else request.once('end', lookSoon);
  });
}

/**
 * Ends what cannot move to another process the way HTTP foresees: with the next response of a kept-alive connection,
 * and for HTTP/2 with GOAWAY after the next request. An idle connection is never closed under a client that may be writing.
 * @param {Server} server
 * @param {Set<ServerHttp2Session>} sessions of HTTP/2
 * @param {Patience} patience for the next request of a session
 * @returns {() => void} ends it
 */
function announceClose(server, sessions, patience) {
  const unsubscribe = subscribe('http.server.request.start', server, ({ response }) => {
    response.shouldKeepAlive = false;
  });
  const callOffs = [...sessions].map((session) => endSession(session, patience));
  // Responses that are under way can say it too, as long as their headers are not sent.
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

/** Longest part of a path that is logged, in characters. */
const longestPath = 200;
/** Number of requests that are named. */
const mostNamed = 20;

/**
 * Returns the unfinished requests and connections of a server. Leaves out the query of a request: it may have secrets.
 * @param {any} server of any kind, or undefined; only HTTP/1 servers know their requests
 * @returns {{ named: { method: string, path: string }[], requests: number, connections: number }}
 */
function inFlight(server) {
  const all = server === undefined ? [] : allConnections(server);
  const requests = all.flatMap(({ _httpMessage }) => _httpMessage?.req ?? []);
  const named = requests.slice(0, mostNamed).map((/** @type {any} */ { method, url }) => ({
    method: String(method),
    path: printable(String(url).replace(/[?#].*/s, '')),
  }));
  const connections = Math.max(0, (server?._connections ?? 0) - requests.length);
  return { named, requests: requests.length, connections };
}

/** @param {string} path */
function printable(path) {
  return path.slice(0, longestPath).replaceAll(/[^!-~]/g, '?');
}

module.exports = {
  allConnections,
  announceClose,
  idleConnections,
  inFlight,
  movableConnections,
  subscribe,
  watchForIdle,
  whenEmpty,
};

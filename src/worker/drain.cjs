'use strict';

const { channel } = require('node:diagnostics_channel');
const { allConnections } = require('./connections.cjs');

/** @import { Server } from 'node:net' */
/** @import { ServerHttp2Session } from 'node:http2' */

/** A frame of HTTP/2: GOAWAY without an error, with the highest number of a stream, so that it refuses none. */
const endIsNear = Buffer.from('0000080700000000007fffffff00000000', 'hex');
/** How long a client may take to answer a ping, in ms. */
const pingPatience = 10_000;

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
 * and for HTTP/2 with GOAWAY. An idle connection is never closed under a client that may be writing.
 * @param {Server} server
 * @param {Set<ServerHttp2Session>} sessions of HTTP/2
 * @returns {() => void} ends it
 */
function announceClose(server, sessions) {
  const unsubscribe = subscribe('http.server.request.start', server, ({ response }) => {
    response.shouldKeepAlive = false;
  });
  for (const session of sessions) endSession(session);
  // Responses that are under way can say it too, as long as their headers are not sent.
  for (const { _httpMessage: response } of allConnections(server)) {
    if (response && !response.headersSent) response.shouldKeepAlive = false;
  }
  return unsubscribe;
}

/**
 * Ends a session. `close` alone refuses streams that the client opens before it sees the GOAWAY. So the client is told
 * of the end first, and has sent all it will send when it answers the second ping behind that: answers to pings overtake
 * requests on their way out.
 *
 * Node.js has no way to say so: after a GOAWAY of its own it ignores new streams, whatever number is in it. So the frame
 * goes past the session to its socket, between two writes, each of which is of whole frames. With the answer to the
 * ping before that, the session has written its settings, which must come first. TLS allows no write beside the
 * session's: there a stream may be refused, which tells the client to send the request again.
 * @param {ServerHttp2Session} session
 */
function endSession(session) {
  if (session.closed || session.destroyed) return;
  const socket = /** @type {any} */ (session.socket);
  if (socket._handle?.constructor.name !== 'TCP') return session.close();
  const close = () => {
    clearTimeout(timer);
    if (!session.destroyed) session.close();
  };
  const timer = setTimeout(close, pingPatience).unref();
  /** @param {() => void} then */
  const ping = (then) => {
    // Without an answer, or with too many pings on their way, the timer closes.
    if (!session.closed && !session.destroyed) session.ping((error) => (error ? close() : then()));
  };
  ping(() => {
    socket._write(endIsNear, 'buffer', () => undefined);
    ping(() => ping(close));
  });
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

module.exports = { announceClose, endSession, subscribe, watchForIdle };

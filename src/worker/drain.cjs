'use strict';

const { channel } = require('node:diagnostics_channel');
const { allConnections } = require('./connections.cjs');
const { endSession } = require('./end-session.cjs');

/** @import { Server } from 'node:net' */
/** @import { ServerHttp2Session } from 'node:http2' */
/** @import { Patience } from './end-session.cjs' */

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

module.exports = { announceClose, subscribe, watchForIdle };

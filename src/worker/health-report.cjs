'use strict';

const { allConnections, subscribe } = require('./connections.cjs');

/** @import { Server } from 'node:net' */
/** @import { FromWorker } from '../protocol/worker.ts' */

/**
 * Intervals between two readings, in ms, below half of the limit (`far`) and above (`near`): a leak may take a gigabyte a
 * second. While the process does not grow, the interval doubles up to the longest, because a reading costs a system call.
 */
const intervals = { far: { shortest: 50, longest: 250 }, near: { shortest: 10, longest: 50 } };
/** Share of the limit by which a worker may exceed its limit, or its size when it opened, before it stops accepting requests. */
const tolerance = 0.2;

/**
 * Watches the memory of this process. On a busy machine the runner may be late, but a process that leaks is running.
 * @param {number} limit resident memory in bytes
 * @param {object} on
 * @param {() => Server} on.server the app's server
 * @param {(bytes: number) => void} on.exceeded called each time the memory grows beyond the limit
 * @param {() => void} on.excessive called after each reading above the tolerance: the worker must stop accepting requests
 * @returns {() => void} to call when the worker opens, also if it reopens: if its memory exceeds the limit already, it serves all
 *   the same, because a worker that retired before its first request would keep all clients waiting
 */
function watchMemory(limit, { server, exceeded, excessive }) {
  let most = Number.POSITIVE_INFINITY;
  /** @type {(() => void) | undefined} */
  let endRequests;
  const read = () => {
    const bytes = process.memoryUsage.rss();
    const isOver = bytes > limit;
    if (isOver && endRequests === undefined) {
      exceeded(bytes);
      endRequests = subscribe('http.server.request.start', server(), read);
    } else if (!isOver) {
      endRequests?.();
      endRequests = undefined;
    }
    if (bytes > most) excessive();
    return bytes;
  };
  let pause = 0;
  let former = 0;
  const next = () => {
    const bytes = read();
    const { shortest, longest } = bytes > limit / 2 ? intervals.near : intervals.far;
    pause = bytes > former ? shortest : Math.min(Math.max(pause * 2, shortest), longest);
    former = bytes;
    setTimeout(next, pause).unref();
  };
  next();
  return () => {
    most = Math.max(limit, process.memoryUsage.rss()) + limit * tolerance;
  };
}

/**
 * Sends heartbeats with the delay of the event loop, and with the connections and requests of the server. They are counted for each
 * heartbeat, so that requests cost nothing.
 * @param {number} interval in ms
 * @param {() => Server} server
 * @param {(message: FromWorker) => void} post
 */
function sendHeartbeats(interval, server, post) {
  let due = performance.now() + interval;
  const timer = setInterval(() => {
    const now = performance.now();
    const eventLoopDelayMs = Math.round(Math.max(0, now - due) * 10) / 10;
    due = now + interval;
    const { _connections: connections } = /** @type {any} */ (server());
    post({ type: 'beat', eventLoopDelayMs, connections, requests: requestsOf(server()).length });
  }, interval);
  timer.unref();
}

/** Returns the unfinished requests of a server; only HTTP/1 servers know them. @param {any} server */
function requestsOf(server) {
  return allConnections(server).flatMap(({ _httpMessage: response }) => response?.req ?? []);
}

/** Longest part of a path that is logged, in characters. */
const longestPath = 200;
/** Number of requests that are named. */
const mostNamed = 20;

/**
 * Returns the unfinished requests and connections of a server. Leaves out the query of a request: it may have secrets.
 * @param {any} server of any kind, or undefined
 * @returns {{ named: { method: string, path: string }[], requests: number, connections: number }}
 */
function inFlight(server) {
  const requests = server === undefined ? [] : requestsOf(server);
  const named = requests.slice(0, mostNamed).map((/** @type {any} */ { method, url }) => ({
    method: String(method),
    path: String(url)
      .replace(/[?#].*/s, '')
      .slice(0, longestPath)
      .replaceAll(/[^!-~]/g, '?'),
  }));
  const connections = Math.max(0, (server?._connections ?? 0) - requests.length);
  return { named, requests: requests.length, connections };
}

module.exports = { inFlight, sendHeartbeats, watchMemory };

'use strict';

const { allConnections } = require('./connections.cjs');

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

module.exports = { inFlight };

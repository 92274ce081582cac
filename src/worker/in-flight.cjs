'use strict';

const { allConnections } = require('./connections.cjs');

/** More than this of a path is of no use in a log. */
const longestPath = 200;
/** How many requests are named. */
const mostNamed = 20;

/**
 * What a server has not finished. The query of a request is left out: there may be secrets in it.
 * @param {any} server of any kind, or undefined; only those of HTTP/1 know their requests
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

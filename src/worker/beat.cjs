'use strict';

const { allConnections } = require('./connections.cjs');

/** @import { Server } from 'node:net' */
/** @import { FromWorker } from '../protocol/worker.ts' */

/**
 * Says now and then that the event loop turns, by how much it was late, and what the server is at: counted then and
 * not when a request comes.
 * @param {number} interval in ms
 * @param {() => Server | undefined} server
 * @param {(message: FromWorker) => void} post
 */
function beat(interval, server, post) {
  let due = performance.now() + interval;
  const timer = setInterval(() => {
    const now = performance.now();
    const eventLoopDelayMs = Math.round(Math.max(0, now - due) * 10) / 10;
    due = now + interval;
    post({ type: 'beat', eventLoopDelayMs, ...count(server()) });
  }, interval);
  timer.unref();
}

/** @param {any} server @returns {{ connections: number, requests: number }} */
function count(server) {
  const connections = server?._connections ?? 0;
  if (connections === 0) return { connections, requests: 0 };
  return { connections, requests: allConnections(server).filter(({ _httpMessage }) => _httpMessage).length };
}

module.exports = { beat };

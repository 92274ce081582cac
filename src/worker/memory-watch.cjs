'use strict';

const { subscribe } = require('./drain.cjs');

/** @import { Server } from 'node:net' */

/** Interval between two readings below half of the limit, and above, in ms: a leak may take a gigabyte a second. */
const interval = { far: 50, near: 10 };
/** Share of the limit by which a worker may exceed its limit, or its size at the start, until it takes no more requests. */
const tolerance = 0.2;

/**
 * Watches the memory of this process. The runner may be late when the machine is busy. The process that leaks is not:
 * it runs.
 * @param {number} limit resident memory in bytes
 * @param {object} on
 * @param {() => Server | undefined} on.server the app's server
 * @param {(bytes: number) => void} on.exceeded called each time that the memory grows beyond the limit
 * @param {() => void} on.excessive called after each reading at which no more requests must be accepted
 */
function watchMemory(limit, { server, exceeded, excessive }) {
  // A limit below the size of a fresh process cannot be kept: such a process serves all the same.
  const most = Math.max(limit, process.memoryUsage.rss()) + limit * tolerance;
  /** @type {(() => void) | undefined} */
  let endRequests;
  const read = () => {
    const bytes = process.memoryUsage.rss();
    const isOver = bytes > limit;
    if (isOver && endRequests === undefined) {
      exceeded(bytes);
      endRequests = readAtEachRequest(server());
    } else if (!isOver) {
      endRequests?.();
      endRequests = undefined;
    }
    if (bytes > most) excessive();
    return bytes;
  };
  /** @param {Server | undefined} of */
  const readAtEachRequest = (of) =>
    of === undefined ? () => undefined : subscribe('http.server.request.start', of, read);
  const next = () => {
    const isNear = read() > limit / 2;
    setTimeout(next, isNear ? interval.near : interval.far).unref();
  };
  next();
}

module.exports = { watchMemory };

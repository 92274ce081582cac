'use strict';

const { subscribe } = require('./drain.cjs');

/** @import { Server } from 'node:net' */

/**
 * Interval between two readings, in ms, below half of the limit and above: a leak may take a gigabyte a second. It
 * doubles from the shortest to the longest as long as the process does not grow: a reading costs a system call.
 */
const intervals = { far: { shortest: 50, longest: 250 }, near: { shortest: 10, longest: 50 } };
/** Share of the limit by which a worker may exceed its limit, or its size at the start, until it takes no more requests. */
const tolerance = 0.2;

/**
 * Watches the memory of this process. The runner may be late when the machine is busy. The process that leaks is not:
 * it runs.
 * @param {number} limit resident memory in bytes
 * @param {object} on
 * @param {() => Server | undefined} on.server the app's server
 * @param {(bytes: number) => void} on.exceeded called each time that the memory grows beyond the limit
 * @param {() => boolean} on.excessive called after each reading at which no more requests must be accepted, until it
 *   returns true; then again when the memory has grown by as much once more, for a worker that was told to go on
 */
function watchMemory(limit, { server, exceeded, excessive }) {
  // A limit below the size of a fresh process cannot be kept: such a process serves all the same.
  let most = Math.max(limit, process.memoryUsage.rss()) + limit * tolerance;
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
    if (bytes > most && excessive()) most = bytes + limit * tolerance;
    return bytes;
  };
  /** @param {Server | undefined} of */
  const readAtEachRequest = (of) =>
    of === undefined ? () => undefined : subscribe('http.server.request.start', of, read);
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
}

module.exports = { watchMemory };

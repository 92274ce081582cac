'use strict';

const { subscribe } = require('./connections.cjs');

/** @import { Server } from 'node:net' */
/** @import { FromWorker } from '../protocol/worker.ts' */

/** Interval between two reports, in ms. A report is a heartbeat, too. */
const interval = 500;

/**
 * Counts the responses of an HTTP/1 server, and those with a status from 500 to 599, and reports them. Without a count, requests cost
 * nothing more.
 * @param {Server} server
 * @param {(message: FromWorker) => void} post
 * @returns {() => void} ends the count
 */
function countResponses(server, post) {
  let [total, errors] = [0, 0];
  const end = subscribe('http.server.response.finish', server, ({ response }) => {
    total += 1;
    if (response.statusCode >= 500 && response.statusCode < 600) errors += 1;
  });
  const timer = setInterval(() => {
    post({ type: 'responses', total, errors });
    [total, errors] = [0, 0];
  }, interval);
  timer.unref();
  return () => {
    clearInterval(timer);
    end();
  };
}

module.exports = { countResponses };

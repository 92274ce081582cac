'use strict';

const { writeSync } = require('node:fs');
const { emitShutdown } = require('./stop-signal.cjs');

/** @typedef {InstanceType<typeof import('./worker.cjs').Worker>} Worker */

/** Time of a round of the event loop below which it had nothing to do, in ms. An idle round takes a tenth of that. */
const quietRound = 0.1;
/** Longest wait for an idle round, in ms: under full load there may be none. */
const quietPatience = 200;

/** true if this process has sent itself its stop signal: a second one ends many apps at once */
let isEnding = false;

/**
 * Accepts no new requests, and ends this process once it is drained. The process signals itself: a runner with an old pid might hit
 * another process. In exec mode an orphan only reports that it is drained.
 * @param {Worker} worker
 * @param {() => void} retired called when the worker accepts no new requests: the destination of its connections is needed now
 */
function leave(worker, retired) {
  const { drainTimeout, killTimeout, shutdownWithMessage } = worker.boot;
  const stopSignal = worker.boot.stopSignal ?? 'SIGTERM';
  const end = () => {
    if (isEnding) return;
    isEnding = true;
    // The command of an exec worker would start this process again. With a runner, it may do so.
    if (worker.isOrphan && worker.commandPid !== undefined) {
      worker.noteDrained();
      // Its runner ends the command by a signal or, because the command gets no message, not at all.
      if (shutdownWithMessage) emitShutdown();
      return;
    }
    const asked = shutdownWithMessage ? "the message 'shutdown'" : stopSignal;
    const kill = () => {
      log(`killed: it had not ended ${duration(killTimeout)} after ${asked} ("killTimeout")`);
      process.kill(process.pid, 'SIGKILL');
    };
    setTimeout(kill, killTimeout).unref();
    if (shutdownWithMessage) emitShutdown();
    else process.kill(process.pid, stopSignal);
  };
  const cut = () => {
    if (isEnding) return;
    const late = `${duration(drainTimeout)} after the worker retired ("drainTimeout")`;
    const { named, requests, connections } = worker.inFlight;
    for (const { method, path } of named) log(`cuts ${method} ${path}: not answered ${late}`);
    const others = requests - named.length;
    if (others > 0) log(`cuts ${counted(others, 'more request')}: not answered ${late}`);
    if (connections > 0)
      log(`cuts ${counted(connections, 'connection')} (WebSocket, HTTP/2 or the like): open ${late}`);
    end();
  };
  worker.closeSpareSockets();
  whenQuiet(worker, () => {
    worker.retireAlone();
    retired();
    setTimeout(cut, worker.drain.timeLeft).unref();
    // By now the destination of the connections is set, if it is known.
    setImmediate(() => worker.drain.whenDrained(end));
  });
}

/** @param {number} ms */
function duration(ms) {
  return ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
}

/** @param {number} count @param {string} noun */
function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * Writes a line to the log of the app, without the runner. Synchronous, because the process may end at once.
 * @param {string} what
 */
function log(what) {
  try {
    writeSync(2, `sluice: worker (pid ${process.pid}) ${what}\n`);
  } catch {
    // A full disk must not keep the process from ending.
  }
}

/**
 * Accepts all connections that wait in the kernel, which would reset them with the last listening socket. Calls `then` right after
 * the first round of the event loop that had nothing to do.
 * @param {Pick<Worker, 'handoffs'>} worker
 * @param {() => void} then
 */
function whenQuiet(worker, then) {
  const latest = performance.now() + quietPatience;
  const round = () => {
    const start = performance.now();
    setImmediate(() => {
      const now = performance.now();
      if ((now - start < quietRound && !worker.handoffs.hasToTake) || now > latest) then();
      else round();
    });
  };
  // The first round must be a whole one.
  setImmediate(round);
}

module.exports = { leave, log, whenQuiet };

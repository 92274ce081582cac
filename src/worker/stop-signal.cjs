'use strict';

const { writeSync } = require('node:fs');

/**
 * Turns SIGTERM into SIGINT for an app that handles SIGINT but not SIGTERM, as the documentation of PM2 teaches. Otherwise the
 * app's shutdown code would never run. All processes can send SIGTERM, also the worker itself.
 * @returns {() => boolean} returns true if the app handles SIGINT but not SIGTERM
 */
function translateStopSignal() {
  const translate = () => {
    note();
    process.kill(process.pid, 'SIGINT');
  };
  let isThere = false;
  // Also called when our own listener is added or removed.
  const check = () => {
    const isWanted =
      process.listenerCount('SIGINT') > 0 && process.listenerCount('SIGTERM') === (isThere ? 1 : 0);
    if (isWanted === isThere) return;
    isThere = isWanted;
    if (isWanted) process.on('SIGTERM', translate);
    else process.off('SIGTERM', translate);
  };
  /** @param {string | symbol} name */
  const changed = (name) => {
    if (name === 'SIGINT' || name === 'SIGTERM') process.nextTick(check);
  };
  process.on('newListener', changed);
  process.on('removeListener', changed);
  return () => {
    check();
    return isThere;
  };
}

/** Prints a note, synchronously, since the app may end at once. A failed write must not stop the app's shutdown. */
function note() {
  try {
    writeSync(
      2,
      'sluice: this app handles SIGINT but not SIGTERM, so Sluice ends it with SIGINT. To choose the signal, set "stopSignal" in sluice.json\n',
    );
  } catch {}
}

/** Passes the message of a runner that ends a process to the app, as if its parent had sent the message. */
function emitShutdown() {
  /** @type {any} */ (process).emit('message', 'shutdown', undefined);
}

module.exports = { emitShutdown, translateStopSignal };

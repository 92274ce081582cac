'use strict';

const { writeSync } = require('node:fs');

/**
 * Makes SIGTERM a SIGINT for an app that handles SIGINT and not SIGTERM, as the documentation of PM2 teaches: its
 * shutdown would never run. Whoever sends the signal need not know, a worker that ends itself included.
 */
function translateStopSignal() {
  const translate = () => {
    note();
    process.kill(process.pid, 'SIGINT');
  };
  let isThere = false;
  // Adding and removing our own listener tells us, too.
  const look = () => {
    const isWanted =
      process.listenerCount('SIGINT') > 0 && process.listenerCount('SIGTERM') === (isThere ? 1 : 0);
    if (isWanted === isThere) return;
    isThere = isWanted;
    if (isWanted) process.on('SIGTERM', translate);
    else process.off('SIGTERM', translate);
  };
  /** @param {string | symbol} name */
  const changed = (name) => {
    if (name === 'SIGINT' || name === 'SIGTERM') process.nextTick(look);
  };
  process.on('newListener', changed);
  process.on('removeListener', changed);
  isOnlyInterrupt = () => {
    look();
    return isThere;
  };
}

let isOnlyInterrupt = () => false;

/** Synchronously: the app may end at once. What cannot be written must not keep it from its shutdown. */
function note() {
  try {
    writeSync(
      2,
      'sluice: this app handles SIGINT and not SIGTERM, so it gets SIGINT to end. To choose: "stopSignal" in sluice.json\n',
    );
  } catch {}
}

module.exports = { handlesOnlyInterrupt: () => isOnlyInterrupt(), translateStopSignal };

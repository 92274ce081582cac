'use strict';

/**
 * All that a worker needs from the switch on. Loaded whole while there is time, and while the files are there: a worker
 * may outlive the version of Sluice that started it.
 */
module.exports = {
  ...require('./acceptor.cjs'),
  ...require('./beat.cjs'),
  ...require('./connections.cjs'),
  ...require('./drain.cjs'),
  ...require('./end-session.cjs'),
  ...require('./handoff.cjs'),
  ...require('./in-flight.cjs'),
  ...require('./memory-watch.cjs'),
  ...require('./migration.cjs'),
  ...require('./orphan.cjs'),
};

'use strict';

/**
 * All that a worker needs from the switch on. Loaded whole while there is time, and while the files are there: a worker
 * may outlive the version of Sluice that started it.
 */
module.exports = {
  ...require('./acceptor.cjs'),
  ...require('./connections.cjs'),
  ...require('./end-session.cjs'),
  ...require('./handoff.cjs'),
  ...require('./health-report.cjs'),
  ...require('./leaving-connections.cjs'),
  ...require('./orphan.cjs'),
};

'use strict';

/**
 * What runs in a worker before the app: see docs/architecture.md, "The gate". Loaded by `--require` into the app's own
 * Node.js, from version 18.12 on; it needs nothing but Node and must cost next to nothing.
 *
 * `--require` is inherited by the app's worker threads and by its `fork()`: only the process that the runner started
 * has the variable, and only until here. Each thread starts later, that of a module loader too; to load
 * node:worker_threads for `isMainThread` would cost a tenth of the bootstrap.
 */

const given = process.env['SLUICE_WORKER'];
if (given !== undefined) {
  delete process.env['SLUICE_WORKER'];
  const own = process.execArgv.indexOf('--require');
  if (own !== -1) process.execArgv.splice(own, 2);
  const { Worker } = require('./worker.cjs');
  new Worker(JSON.parse(given));
}

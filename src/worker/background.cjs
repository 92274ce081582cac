'use strict';

/**
 * Runs in a background process before the app: `--require` loads this file into the app's own Node.js, from version 18.12 on. Limits
 * its output, handles its end, and gives the app a `process.send`.
 *
 * Worker threads and forks of the app inherit `--require`. Only the process that the runner has started has the variable, and only
 * until here.
 */

const { openChannel } = require('./channel.cjs');
const { saveCompiled, useCompileCache } = require('./compile-cache.cjs');
const { AppMetrics, reportInterval } = require('./app-metrics.cjs');
const { replacePm2 } = require('./pm2-module.cjs');
const { limitPrinting } = require('./printing.cjs');
const { emitShutdown, translateStopSignal } = require('./stop-signal.cjs');

/** @import { BackgroundBoot } from '../protocol/worker.ts' */

/** Time after which a process has loaded most of its code, in ms. */
const saveDelay = 5000;

/** @param {BackgroundBoot} boot */
function startBackground({ channelFd, directory, overflow, stopSignal, shutdownWithMessage }) {
  useCompileCache(directory);
  setTimeout(saveCompiled, saveDelay).unref();
  limitPrinting(overflow);
  replacePm2();
  if (stopSignal === null) translateStopSignal();
  const metrics = new AppMetrics();
  let isReporting = false;
  const report = () => {
    for (const message of metrics.takeChanged()) post(message);
  };
  const { post } = openChannel(channelFd, {
    message: ({ type }) => type === 'shutdown' && emitShutdown(),
    appMessage: (message) => {
      if (message === 'ready') post({ type: 'reported' });
      if (!metrics.hear(message) || isReporting) return;
      isReporting = true;
      report();
      setInterval(report, reportInterval).unref();
    },
    lost: () => {
      if (!shutdownWithMessage) return;
      // The next runner has no channel to this process, and sends the signal.
      const signal = stopSignal ?? 'SIGTERM';
      process.removeAllListeners(signal);
      process.on(signal, emitShutdown);
    },
  });
}

const given = process.env['SLUICE_BACKGROUND'];
if (given !== undefined) {
  delete process.env['SLUICE_BACKGROUND'];
  const own = process.execArgv.indexOf(__filename);
  if (own > 0) process.execArgv.splice(own - 1, 2);
  startBackground(JSON.parse(given));
}

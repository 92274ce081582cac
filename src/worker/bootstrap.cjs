'use strict';

/**
 * Runs in a worker before the app: see docs/internals/listening.md. `--require` loads this file into the app's own Node.js,
 * from version 18.12 on. It depends on Node.js alone, and must load within milliseconds.
 *
 * Worker threads and forks of the app inherit `--require`. Only the process that the runner starts has the variable. The bootstrap
 * removes it before any thread can start, even one of a module loader. Loading node:worker_threads for `isMainThread` would
 * take a tenth of the time of the bootstrap.
 *
 * In exec mode all processes of the worker inherit the variable and `--require`: see docs/internals/exec.md.
 */

const given = process.env['SLUICE_WORKER'];
if (given !== undefined) {
  const boot = JSON.parse(given);
  if ('channelFd' in boot) {
    delete process.env['SLUICE_WORKER'];
    const own = process.execArgv.indexOf('--require');
    if (own !== -1) process.execArgv.splice(own, 2);
    require('./own-require.cjs').requireOwn('./worker.cjs').startWorker(boot);
  } else if (Number.parseInt(process.versions.node, 10) >= 18) {
    // A command may also start an older Node.js, as a tool: this file must not stop it.
    require('./own-require.cjs').requireOwn('./member.cjs').becomeMember(boot);
  }
}

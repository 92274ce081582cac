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

/**
 * Returns the `require` of the modules of Sluice in this process. Apps and packages such as esm replace the loader of Node.js before
 * Sluice loads its last modules. This function is also faster, because it looks for no other file.
 * @returns {(name: string) => any} takes the name of a module of Node.js, or of a file in this directory
 */
function makeRequire() {
  const { readFileSync } = require('node:fs');
  const { compileFunction } = require('node:vm');
  const builtin = process.getBuiltinModule || loaderOfNode();
  /** @type {Map<string, { exports: any }>} modules of Sluice by name */
  const loaded = new Map();
  return function requireOwn(name) {
    if (!name.startsWith('./')) return builtin(name);
    const known = loaded.get(name);
    if (known !== undefined) return known.exports;
    const filename = `${__dirname}/${name.slice(2)}`;
    const run = compileFunction(readFileSync(filename, 'utf8'), ['module', 'require', '__filename'], {
      filename,
    });
    const own = { exports: {} };
    loaded.set(name, own);
    run(own, requireOwn, filename);
    return own.exports;
  };
}

/** Returns the loader of modules of Node.js for versions before 20.16. */
function loaderOfNode() {
  const { _load } = /** @type {any} */ (require('node:module'));
  return (/** @type {string} */ name) => _load(name, null, false);
}

const given = process.env['SLUICE_WORKER'];
if (given !== undefined) {
  const boot = JSON.parse(given);
  if ('channelFd' in boot) {
    delete process.env['SLUICE_WORKER'];
    const own = process.execArgv.indexOf('--require');
    if (own !== -1) process.execArgv.splice(own, 2);
    const requireOwn = makeRequire();
    requireOwn('./compile-cache.cjs').useCompileCache(boot.directory);
    requireOwn('./worker.cjs').startWorker(boot);
  } else if (Number.parseInt(process.versions.node, 10) >= 18) {
    // A command may also start an older Node.js, as a tool. This file must not stop it, and has only old syntax.
    makeRequire()('./member.cjs').becomeMember(boot);
  }
}

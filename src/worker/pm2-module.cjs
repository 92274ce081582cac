'use strict';

const { existsSync, writeSync } = require('node:fs');

/**
 * Gives an app that has the package `pm2` a module in its place. The package would start a daemon of PM2, which knows nothing of this
 * app, and would fail if the home of the user cannot be written. Looks only for the package: other apps load nothing more, since each
 * module of Node.js takes time from the start of a worker.
 */
function replacePm2() {
  const start = process.argv[1] ?? `${process.cwd()}/index.js`;
  if (!hasPm2(start)) return;
  const Module = /** @type {any} */ (require('node:module'));
  try {
    const filename = Module.createRequire(start).resolve('pm2');
    // Both kinds of modules look into this cache, and load no file that is there.
    Module._cache[filename] = Object.assign(new Module(filename), {
      filename,
      loaded: true,
      exports: makePm2(),
    });
  } catch (error) {
    note(`the package pm2 is damaged: ${/** @type {Error} */ (error).message}`);
  }
}

/** Returns true if a directory above a file has the package. @param {string} file */
function hasPm2(file) {
  const segments = file.split('/');
  while (segments.pop() !== undefined) {
    if (existsSync(`${segments.join('/')}/node_modules/pm2/package.json`)) return true;
  }
  return false;
}

/** Returns the module: it knows this one process, and rejects orders to the daemon by their callbacks. */
function makePm2() {
  const { EventEmitter } = require('node:events');
  /** @type {(result?: unknown) => (...args: unknown[]) => void} */
  const answer =
    (result) =>
    (...args) =>
      callBack(args, null, typeof result === 'function' ? result(args[0]) : result);
  const known = {
    connect: answer({}),
    ...{ disconnect: answer(), close: answer(), destroy: answer() },
    ...{ list: answer(() => [describe()]), describe: answer(found), getProcessIdByName: answer(idsOf) },
    launchBus: answer(() => new EventEmitter()),
    // Called with `new`, which arrow functions do not support.
    custom: function Pm2() {
      return pm2;
    },
  };
  /** @type {any} */
  const pm2 = new Proxy(known, {
    get(target, name, receiver) {
      if (typeof name !== 'string' || name in target) return Reflect.get(target, name, receiver);
      // Loaders and `await` ask for these.
      if (['__esModule', 'default', 'then', 'toJSON'].includes(name)) return undefined;
      return (/** @type {unknown[]} */ ...args) => refuse(name, args);
    },
  });
  return pm2;
}

/** @param {string} name of a function of the package @param {unknown[]} args */
function refuse(name, args) {
  const message = `pm2.${name}() does nothing: Sluice runs this app, not PM2`;
  note(message);
  callBack(args, new Error(message));
}

/** @param {unknown[]} args of a function with a callback @param {unknown[]} results */
function callBack(args, ...results) {
  const callback = args.findLast((argument) => typeof argument === 'function');
  if (typeof callback === 'function') process.nextTick(callback, ...results);
}

/** Returns this process, as PM2 lists it. */
function describe() {
  const { env } = process;
  const name = env['name'] ?? 'app';
  const pmId = Number(env['pm_id'] ?? env['NODE_APP_INSTANCE'] ?? 0);
  const started = Math.round(Date.now() - process.uptime() * 1000);
  return {
    ...{ name, pid: process.pid, pm_id: pmId },
    monit: { memory: process.memoryUsage.rss(), cpu: 0 },
    pm2_env: { ...env, name, pm_id: pmId, status: 'online', pm_uptime: started, restart_time: 0 },
  };
}

/** @param {unknown} wanted name or id of a process */
function found(wanted) {
  const own = describe();
  return [own.name, String(own.pm_id), 'all'].includes(String(wanted)) ? [own] : [];
}

/** @param {unknown} name */
function idsOf(name) {
  return found(name).map(({ pm_id: id }) => id);
}

/** Prints a note, synchronously. @param {string} text */
function note(text) {
  try {
    writeSync(2, `sluice: ${text}\n`);
  } catch {
    // A full disk must not keep the app from running.
  }
}

module.exports = { replacePm2 };

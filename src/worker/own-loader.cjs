'use strict';

const Module = /** @type {any} */ (require('node:module'));

/** Objects whose methods load modules. Packages such as esm and module-alias replace these methods. */
const parts = [Module, Module.prototype, Module._extensions];
const names = [
  '_load',
  '_resolveFilename',
  '_findPath',
  'load',
  'require',
  '_compile',
  '.js',
  '.cjs',
  '.json',
];
/** Methods of Node.js, as they are before the app runs; it has no `.cjs`, and then uses `.js`. */
const own = parts.map((part) => names.map((name) => Object.getOwnPropertyDescriptor(part, name)));

/**
 * Loads modules of Sluice after the app has started, with the loader of Node.js in place of the app's. The loader of esm, for
 * example, does not know the prefix `node:`.
 * @template T
 * @param {() => T} load does not wait
 * @returns {T}
 */
function withOwnLoader(load) {
  const changed = parts.flatMap((part, at) =>
    names.flatMap((name, index) => {
      const mine = own[at]?.[index];
      const now = Object.getOwnPropertyDescriptor(part, name);
      const isSame = mine?.value === now?.value && mine?.get === now?.get;
      return isSame ? [] : [{ part, name, mine, now }];
    }),
  );
  for (const { part, name, mine } of changed) define(part, name, mine);
  try {
    return load();
  } finally {
    for (const { part, name, now } of changed) define(part, name, now);
  }
}

/** @param {any} part @param {string} name @param {PropertyDescriptor | undefined} method removed if undefined */
function define(part, name, method) {
  if (method === undefined) delete part[name];
  else Object.defineProperty(part, name, method);
}

module.exports = { withOwnLoader };

'use strict';

const { readFileSync } = require('node:fs');
const { compileFunction } = require('node:vm');

/** Returns a module of Node.js; versions before 20.16 have no function for it. @type {(name: string) => any} */
const builtin = process.getBuiltinModule ?? loaderOfNode();
/** @type {Map<string, { exports: any }>} modules of Sluice by name */
const loaded = new Map();

function loaderOfNode() {
  const { _load } = /** @type {any} */ (require('node:module'));
  return (/** @type {string} */ name) => _load(name, null, false);
}

/**
 * The `require` of the modules of Sluice in this process. Apps and packages such as esm replace the loader of Node.js before Sluice
 * loads its last modules. This function is also faster, because it looks for no other file.
 * @param {string} name of Node.js, or of a file in this directory
 */
function requireOwn(name) {
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
}

module.exports = { requireOwn };

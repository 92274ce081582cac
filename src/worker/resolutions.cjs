'use strict';

/**
 * Files that Node.js has found for calls of `require` in the packages of a release, for its next boots: see
 * docs/internals/compile-cache.md. Nothing here may fail, because an app also runs without them.
 */

const { readFileSync, realpathSync, renameSync, statSync, writeFileSync } = require('node:fs');
const nodeModule = /** @type {any} */ (require('node:module'));
const { join, sep } = require('node:path');

/** @typedef {{ id: string, found: Record<string, string> }} Resolutions `id`: see `idOf` */

const fileName = 'resolutions.json';
/** Largest file, in bytes: 3,000 modules take 1 MB. */
const mostBytes = 8 * 1024 ** 2;
const packages = `${sep}node_modules${sep}`;

/** Number of resolutions that were read. */
let known = 0;

/** Names a release and the options that Node.js resolves with. @param {string} release its directory */
function idOf(release) {
  const { ino, birthtimeMs } = statSync(release);
  const { NODE_OPTIONS: options = '', NODE_PRESERVE_SYMLINKS: links = '' } = process.env;
  const chosen = [...process.execArgv, options].filter((option) => option.includes('preserve-symlinks'));
  return JSON.stringify([release, ino, birthtimeMs, links, ...chosen]);
}

/**
 * Lets Node.js use the resolutions of an earlier boot of the same release: it then looks for no file.
 * @param {string} release its directory
 * @param {string} directory of the compile cache for this version of Node.js
 */
function readResolutions(release, directory) {
  const path = join(directory, fileName);
  try {
    if (statSync(path).size > mostBytes) return;
    /** @type {Resolutions} */
    const { id, found } = JSON.parse(readFileSync(path, 'utf8'));
    if (id !== idOf(release)) return;
    Object.assign(nodeModule._pathCache, found);
    known = Object.keys(found).length;
  } catch {
    // A first boot has no file. A damaged one is written again with the next save.
  }
}

/**
 * Writes the resolutions of this process, if there are new ones.
 * @param {string} release its directory
 * @param {string} directory of the compile cache for this version of Node.js
 */
function writeResolutions(release, directory) {
  const root = realpathSync(release) + sep;
  const inPackages = Object.entries(nodeModule._pathCache).filter(
    ([request, file]) => isInPackages(file, root) && request.includes(`\0${root}`),
  );
  if (inPackages.length === known) return;
  const text = JSON.stringify({ id: idOf(release), found: Object.fromEntries(inPackages) });
  if (Buffer.byteLength(text) > mostBytes) return;
  const path = join(directory, fileName);
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
  known = inPackages.length;
}

/**
 * Returns true for a file of a package of the release: an app changes its packages only by an install, that is, in a new release. Other
 * files come and go while it runs.
 * @param {unknown} file
 * @param {string} root
 */
function isInPackages(file, root) {
  return typeof file === 'string' && file.startsWith(root) && file.includes(packages, root.length - 1);
}

module.exports = { readResolutions, writeResolutions };

'use strict';

/**
 * Compiled code of the app on the disk, for its next boots: see docs/internals/compile-cache.md. Nothing here may fail, because an
 * app also runs without this cache.
 */

const { mkdirSync, readdirSync, readlinkSync, rmSync, statSync } = require('node:fs');
const nodeModule = /** @type {any} */ (require('node:module'));
const { basename, join, resolve } = require('node:path');
const { readResolutions, writeResolutions } = require('./resolutions.cjs');

/** Name of the link in each release: src/deploy/link-compiled.ts. */
const linkName = '.sluice-compiled';

/** Directories of the cache, relative to a release: that of an app without a system user, and that of an app with one. */
const places = ['../../cache/compiled', '../../tmp/compiled'];

/** Limits of the cache, of all versions of Node.js together. */
const most = { files: 20_000, bytes: 100 * 1024 ** 2 };

/** True if this process uses the cache of its environment. */
let isUsed = false;
/** Directory of the cache, without links. */
let directory = '';
/** Directory of the release. */
let ownRelease = '';

/**
 * Lets Node.js take compiled code from the cache of the environment. Does nothing in a release without the link, before Node.js 22.8,
 * and if the variables of the app name another cache or disable it.
 * @param {string} release its directory
 */
function useCompileCache(release) {
  const { enableCompileCache, getCompileCacheDir, constants } = nodeModule;
  if (enableCompileCache === undefined || getCompileCacheDir() !== undefined) return;
  const link = join(release, linkName);
  try {
    directory = resolve(release, readlinkSync(link));
    // The link may come from an upload.
    if (!places.some((place) => resolve(release, place) === directory)) return;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { status } = enable(link, enableCompileCache);
    isUsed = status === constants.compileCacheStatus.ENABLED;
    if (!isUsed) return;
    ownRelease = release;
    readResolutions(release, ownDirectory());
  } catch {
    // The release has no link, or the disk refuses the directory.
  }
}

/** @param {string} link @param {(options: unknown) => { status: number }} enableCompileCache */
function enable(link, enableCompileCache) {
  try {
    return enableCompileCache({ directory: link, portable: true });
  } catch {
    // Before 24.12, the only argument is the directory, and each release has entries of its own.
    return enableCompileCache(link);
  }
}

/** Writes code to the cache that is not there yet. Blocks this process; a process that has read all its code from there takes a few ms. */
function saveCompiled() {
  if (!isUsed || nodeModule.flushCompileCache === undefined) return;
  try {
    if (isFull()) {
      rmSync(directory, { recursive: true, force: true });
      // Node.js writes to a directory of its version in it, which it has created before.
      mkdirSync(ownDirectory(), { recursive: true, mode: 0o700 });
    }
    nodeModule.flushCompileCache();
    writeResolutions(ownRelease, ownDirectory());
  } catch {
    // The disk refuses it.
  }
}

/** Returns the directory for this version of Node.js and its flags, without links. */
function ownDirectory() {
  return resolve(directory, basename(nodeModule.getCompileCacheDir()));
}

/** Returns true if the directories of the cache, one for each version of Node.js and set of its flags, exceed a limit. */
function isFull() {
  let [files, bytes] = [0, 0];
  for (const version of readdirSync(directory, { withFileTypes: true })) {
    if (!version.isDirectory()) continue;
    for (const name of readdirSync(join(directory, version.name))) {
      files += 1;
      // Another process may have replaced or removed the file.
      bytes += statSync(join(directory, version.name, name), { throwIfNoEntry: false })?.size ?? 0;
    }
  }
  return files > most.files || bytes > most.bytes;
}

module.exports = { saveCompiled, useCompileCache };

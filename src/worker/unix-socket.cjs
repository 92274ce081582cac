'use strict';

const { chmodSync, linkSync, lstatSync, renameSync, rmSync } = require('node:fs');
const { constants } = require('node:os');
const { dirname, join, resolve } = require('node:path');

/** @import { Server } from 'node:net' */
/** @typedef {import('./listen.cjs').Listen} Listen */

const inUse = -constants.errno.EADDRINUSE;

/**
 * Makes the call of `listen` for the path of a unix socket. Processes that bind a path one by one cannot share its socket. So
 * one worker at a time has the path: each worker that opens takes the path over from the worker before, in one step. The old
 * socket still serves existing connections. Before a worker opens, the path belongs to the live release, or to a socket that
 * refuses connections.
 *
 * A second link to the socket is kept beside the path. The link shows a worker that the path belongs to its own app. It also
 * keeps the live socket if the app removes the path before it listens, as many apps do.
 *
 * @param {object} options
 * @param {Server} options.server
 * @param {string} options.path
 * @param {number} options.backlog
 * @param {string} options.key of the environment
 * @param {(path: string) => any} options.createHandle makes a handle bound to a path, or gives an error number
 * @returns {Listen}
 */
function callForPath({ server, path: given, backlog, key, createHandle }) {
  const base = { server, port: -1, backlog, rank: 0, address: given };
  // An abstract socket has no file that could be replaced, so the worker waits until the name is free.
  if (given.startsWith('\0'))
    return { ...base, bind: () => createHandle(given), reserve: () => undefined, chmod: () => 0 };

  const path = resolve(given);
  const link = `${path}.${key}`;
  const temporary = join(dirname(path), `.${process.pid}.sock`);
  /** @type {number | undefined} inode of the socket that this worker has made */
  let own;

  const bind = () => {
    rmSync(temporary, { force: true });
    const handle = createHandle(temporary);
    if (typeof handle !== 'number') own = inode(temporary);
    return handle;
  };

  return {
    ...base,
    reserve: () => {
      if (inode(path) === undefined && inode(link) !== undefined) linkSync(link, path);
      if (inode(path) !== undefined) return inode(path) === inode(link) ? undefined : inUse;
      const handle = bind();
      if (typeof handle === 'number') return handle;
      // The link comes first: a worker that found the path without a link would take it for another program's.
      noteOwner(temporary, link);
      renameSync(temporary, path);
      // Another worker may have linked the path to our socket meanwhile. The rename then leaves both names.
      rmSync(temporary, { force: true });
      noteOwner(path, link);
      return handle;
    },
    bind: (reserved) => {
      if (reserved !== undefined && inode(path) === own) return reserved;
      reserved?.close();
      const handle = bind();
      const mode = modeOf(path);
      if (typeof handle !== 'number' && mode !== undefined) chmodSync(temporary, mode);
      return handle;
    },
    publish: () => {
      if (inode(path) !== own) renameSync(temporary, path);
      noteOwner(path, link);
    },
    release: () => {
      if (own === undefined || inode(path) !== own) return;
      rmSync(path, { force: true });
      rmSync(link, { force: true });
    },
    chmod: (wanted) => {
      const readable = wanted & 1 ? 0o444 : 0;
      const writable = wanted & 2 ? 0o222 : 0;
      chmodSync(path, (modeOf(path) ?? 0) | readable | writable);
      return 0;
    },
  };
}

/**
 * Makes the link refer to the socket at the path, even while other workers do the same. Removes the temporary link of a worker
 * that was killed meanwhile.
 * @param {string} path
 * @param {string} link
 */
function noteOwner(path, link) {
  const temporary = `${link}.${process.pid}`;
  while (inode(path) !== undefined && inode(path) !== inode(link)) {
    rmSync(temporary, { force: true });
    linkSync(path, temporary);
    renameSync(temporary, link);
    rmSync(temporary, { force: true });
  }
}

/** @param {string} path */
function inode(path) {
  return lstatSync(path, { throwIfNoEntry: false })?.ino;
}

/** @param {string} path */
function modeOf(path) {
  const mode = lstatSync(path, { throwIfNoEntry: false })?.mode;
  return mode === undefined ? undefined : mode & 0o777;
}

module.exports = { callForPath };

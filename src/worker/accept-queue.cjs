'use strict';

const { closeSync, fstatSync, openSync, readSync } = require('node:fs');

/** Sockets that listen come first in the kernel's list, and have this state. */
const listens = '0A';

/**
 * Number of connections that the kernel has for a listening socket and that nobody has accepted yet: they are reset
 * when the socket is closed. 0 if the system does not say, or the app has closed the socket: a look at it must never
 * fail in the middle of the app.
 * @param {{ fd: number }} handle
 */
function waitingConnections({ fd }) {
  if (process.platform !== 'linux' || !(fd >= 0)) return 0;
  try {
    const inode = String(fstatSync(fd).ino);
    for (const path of ['/proc/self/net/tcp', '/proc/self/net/tcp6']) {
      const waiting = find(path, inode);
      if (waiting !== undefined) return waiting;
    }
  } catch {
    // No descriptor is left, for example: the system does not say.
  }
  return 0;
}

/** @param {string} path @param {string} inode */
function find(path, inode) {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(64 * 1024);
    let rest = '';
    for (;;) {
      const length = readSync(file, buffer);
      const lines = (rest + buffer.toString('latin1', 0, length)).split('\n');
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        const [number, , , state, queues, , , , , owner] = line.trim().split(/\s+/);
        if (number === 'sl') continue;
        if (state !== listens) return undefined;
        if (owner === inode) return Number.parseInt(/** @type {string} */ (queues).slice(9), 16);
      }
      if (length === 0) return undefined;
    }
  } finally {
    closeSync(file);
  }
}

module.exports = { waitingConnections };

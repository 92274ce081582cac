'use strict';

const { closeSync, fstatSync, openSync, readSync } = require('node:fs');

/** State of listening sockets, which come first in the kernel's list. */
const listens = '0A';

/**
 * Returns the number of connections that wait to be accepted on a listening socket: the kernel resets them when the socket is
 * closed. Returns 0 if the system does not report the number, or if the app has closed the socket: this call must never throw
 * in the middle of the app.
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
    // The system does not report the number, for example because no descriptor is left.
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

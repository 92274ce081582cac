'use strict';

const { connect, Socket } = require('node:net');
const { asciiJson, readRest } = require('./channel.cjs');
const { ipc } = require('./handoff.cjs');

/**
 * Opens one connection to a runner. It is read like an IPC channel of Node.js, because the runner sends descriptors.
 * @template FromRunner, ToRunner
 * @param {string} path
 * @param {object} on
 * @param {(post: (message: ToRunner) => void, Pipe: any, close: () => void) => void} on.connected `Pipe`: class of the
 *   handles of pipes
 * @param {(message: FromRunner, handle: any, post: (message: ToRunner) => void) => void} on.message `handle`: handle that came
 *   with the message
 * @param {() => void} on.lost called when the connection is lost, and when there is no runner
 */
function connectToRunner(path, on) {
  const Pipe = pipeClass();
  const pipe = new Pipe(ipc);
  let rest = '';
  const receive = (/** @type {string} */ text, /** @type {any} */ handle) => {
    const lines = (rest + text).split('\n');
    rest = /** @type {string} */ (lines.pop());
    for (const [index, line] of lines.entries()) {
      // The kernel ends a read after a descriptor, and each descriptor comes with one line.
      on.message(JSON.parse(line), index === lines.length - 1 ? handle : undefined, post);
    }
  };
  const socket = new Socket(
    /** @type {any} */ ({
      handle: pipe,
      readable: true,
      writable: true,
      // Nothing can be read before the connection.
      manualStart: true,
      onread: {
        buffer: Buffer.alloc(1024),
        callback(/** @type {number} */ length, /** @type {Buffer} */ bytes) {
          const { pendingHandle } = pipe;
          pipe.pendingHandle = undefined;
          receive(bytes.toString('utf8', 0, length), pendingHandle);
          return true;
        },
      },
    }),
  );
  /** @param {ToRunner} message */
  const post = (message) => socket.write(`${asciiJson(message)}\n`);
  // Node.js destroys a socket whose write fails, with all unread data: see channel.cjs.
  const { destroy } = socket;
  let isConnected = false;
  socket.destroy = function destroyOnceRead(error) {
    if (isConnected && !this.destroyed) receive(readRest(pipe.fd).toString(), undefined);
    return destroy.call(this, error);
  };
  // The 'close' event follows.
  socket.on('error', () => undefined);
  socket.on('end', () => socket.destroy());
  socket.once('close', on.lost);
  socket.once('connect', () => {
    isConnected = true;
    on.connected(post, Pipe, () => socket.destroy());
  });
  socket.connect(path);
  socket.unref();
}

/** Class of the handles of pipes, once it is known. @type {any} */
let knownClass;

/** Returns the class of the handles of pipes. Node.js has no public way to it, but gives such a handle to a socket that connects. */
function pipeClass() {
  if (knownClass === undefined) {
    // Nothing listens there.
    const socket = connect('/dev/null').on('error', () => undefined);
    knownClass = /** @type {any} */ (socket)._handle.constructor;
    socket.destroy();
  }
  return knownClass;
}

module.exports = { connectToRunner };

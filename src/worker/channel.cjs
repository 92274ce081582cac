'use strict';

const { readSync } = require('node:fs');
const { Socket } = require('node:net');

/** @import { FromWorker, ToWorker } from '../protocol/worker.ts' */

/**
 * Opens the channel to the runner: a socket of its own, one JSON message a line. The app sees neither our messages nor the
 * death of the runner, and the socket never keeps the process alive. `process.send` exists for apps that report to their
 * process manager that they are ready; no other message of the app leaves the process.
 *
 * The channel is not an IPC channel of Node.js. The app has this descriptor and may send anything on it, and a Node.js process
 * that reads an IPC channel aborts when it receives the descriptor of a file. On a plain socket the kernel drops descriptors.
 *
 * @param {number} fd
 * @param {object} on
 * @param {(message: ToWorker) => void} on.message
 * @param {(message: unknown) => void} on.appMessage what the app sent by `process.send`
 * @param {() => void} on.lost the runner is gone
 */
function openChannel(fd, on) {
  const socket = new Socket({ fd, readable: true, writable: true });
  socket.unref();
  let rest = Buffer.alloc(0);

  const receive = (/** @type {Buffer} */ bytes) => {
    rest = Buffer.concat([rest, bytes]);
    const end = rest.lastIndexOf('\n');
    if (end === -1) return;
    const lines = rest.toString('utf8', 0, end).split('\n');
    rest = rest.subarray(end + 1);
    for (const line of lines) on.message(JSON.parse(line));
  };
  socket.on('data', receive);
  // Node.js destroys a socket whose write fails, with all unread data: the runner may have sent `open` and died right after.
  const { destroy } = socket;
  socket.destroy = function destroyOnceRead(error) {
    if (!this.destroyed) receive(readRest(fd));
    return destroy.call(this, error);
  };
  // The 'close' event follows, and is handled.
  socket.on('error', () => undefined);
  socket.on('close', () => on.lost());

  offerSend(on.appMessage);

  return {
    /** Class of the handle of this socket: Node.js gives no other access to the class. */
    Pipe: /** @type {any} */ (socket)._handle.constructor,
    /** Sends a message, which is lost if the runner is gone. @param {FromWorker} message */
    post(message) {
      socket.write(`${asciiJson(message)}\n`);
    },
  };
}

/** Returns JSON without other characters than those of ASCII. @param {unknown} value */
function asciiJson(value) {
  const escaped = (/** @type {string} */ unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replaceAll(/[\u0080-\uffff]/g, escaped);
}

/**
 * Gives the app a `process.send`, as if a process manager had forked it.
 * @param {(message: unknown) => void} sent called with each message
 */
function offerSend(sent) {
  const app = /** @type {any} */ (process);
  app.connected = true;
  app.channel = { ref() {}, unref() {}, hasRef: () => false };
  app.disconnect = function ignore() {};
  app.send = function sendToRunner(/** @type {unknown[]} */ ...args) {
    sent(args[0]);
    const callback = args.findLast((argument) => typeof argument === 'function');
    if (typeof callback === 'function') process.nextTick(callback, null);
    return true;
  };
}

/**
 * @param {number} fd a socket that does not block
 * @returns {Buffer} unread bytes that have arrived: some short messages at most
 */
function readRest(fd) {
  const chunk = Buffer.alloc(64 * 1024);
  try {
    return chunk.subarray(0, readSync(fd, chunk));
  } catch {
    // Nothing more has arrived yet, or the other end is gone.
    return chunk.subarray(0, 0);
  }
}

module.exports = { asciiJson, offerSend, openChannel, readRest };

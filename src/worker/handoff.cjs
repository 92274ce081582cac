'use strict';

const { Socket } = require('node:net');

/**
 * The two ends of the socket pair through which the workers of one app pass connections to each other. All workers of
 * the app have both ends. Whoever reads gets whole messages: each is one write with one handle, and the kernel ends a
 * read behind a handle.
 *
 * Handles never go to the runner: a Node.js that reads handles aborts when it receives one that it does not know, such
 * as the descriptor of a file. Here that ends a worker of the app that sent it.
 */

/** The kind of a pipe that carries handles: PipeConstants.IPC of Node.js. */
const ipc = 2;

/**
 * In place of the number of a move: nobody arbitrates. Whoever takes the connection has it, and the giver closes its own
 * copy. The way of workers whose runner is gone.
 */
const forGood = 0;

/** Longer than any message, in bytes. */
const longest = 64;

/**
 * @param {number} fd
 * @param {any} Pipe see channel.cjs
 */
function openPipe(fd, Pipe) {
  const pipe = new Pipe(ipc);
  // Node.js 18.12 throws and returns undefined; later versions return an error number.
  const error = pipe.open(fd);
  if (error) throw new Error(`the handoff cannot be opened: ${error}`);
  return pipe;
}

/** The end that connections are put into. */
class HandoffGiver {
  /** @type {[number, any, () => void, () => void][]} */
  #waiting = [];
  #socket;
  /** @type {any} of the write that is under way */
  #handle;

  /** @param {number} fd @param {any} Pipe */
  constructor(fd, Pipe) {
    const pipe = openPipe(fd, Pipe);
    const write = pipe.writeUtf8String;
    // Node.js takes a handle as third argument, which a socket never passes.
    pipe.writeUtf8String = (/** @type {any} */ request, /** @type {string} */ text) =>
      write.call(pipe, request, text, this.#handle);
    this.#socket = new Socket(
      /** @type {any} */ ({ handle: pipe, readable: false, writable: true, manualStart: true }),
    );
    this.#socket.unref();
    // The write that has failed says so.
    this.#socket.on('error', () => undefined);
  }

  /**
   * Puts a copy of a connection into the handoff, once those before it are in.
   * @param {number} move
   * @param {any} socket
   * @param {() => void} failed told if that cannot be done, such as when the connection is closed by then
   * @param {() => void} given told when that is done
   */
  give(move, socket, failed, given = () => undefined) {
    this.#waiting.push([move, socket, failed, given]);
    if (this.#handle === undefined) this.#next();
  }

  close() {
    this.#waiting.length = 0;
    this.#socket.destroy();
  }

  #next() {
    this.#handle = undefined;
    for (;;) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const [move, socket, failed, given] = next;
      if (socket.destroyed) {
        failed();
        continue;
      }
      this.#handle = socket._handle;
      this.#socket.write(`${move}\n`, (error) => {
        if (error) failed();
        else given();
        this.#next();
      });
      return;
    }
  }
}

/** The end that connections are taken out of, by whichever worker comes first. */
class HandoffTaker {
  #socket;

  /**
   * @param {number} fd
   * @param {any} Pipe
   * @param {(move: number, handle: any) => void} taken
   */
  constructor(fd, Pipe, taken) {
    const pipe = openPipe(fd, Pipe);
    this.#socket = new Socket(
      /** @type {any} */ ({
        handle: pipe,
        readable: true,
        writable: false,
        manualStart: true,
        onread: {
          buffer: Buffer.alloc(longest),
          callback(/** @type {number} */ length, /** @type {Buffer} */ bytes) {
            const handle = pipe.pendingHandle;
            pipe.pendingHandle = undefined;
            if (handle) taken(Number.parseInt(bytes.toString('latin1', 0, length), 10), handle);
            return true;
          },
        },
      }),
    );
    this.#socket.unref();
    this.#socket.on('error', () => undefined);
  }

  start() {
    this.#socket.resume();
  }

  /** Takes nothing from this instant on. */
  stop() {
    this.#socket.pause();
  }

  close() {
    this.#socket.destroy();
  }
}

module.exports = { HandoffGiver, HandoffTaker, forGood, ipc };

'use strict';

/**
 * Limits the output that a process prints while its pipe is full, because the disk is slow or there is no reader. Node.js itself
 * would collect the output in memory, and lose it at `process.exit()`.
 */

/** Limit of the output that waits in memory with the overflow `drop`, in bytes. */
const mayWait = 1024 * 1024;

/** @param {'wait' | 'drop'} overflow */
function limitPrinting(overflow) {
  for (const name of /** @type {const} */ (['stdout', 'stderr'])) {
    const lazy = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(process, name));
    // The stream is made at its first use, so that an app that prints nothing does not load it.
    Object.defineProperty(process, name, {
      ...lazy,
      get() {
        Object.defineProperty(process, name, lazy);
        const stream = /** @type {any} */ (process[name]);
        if (overflow === 'wait') waitWhenFull(stream);
        else dropWhenFull(stream);
        return stream;
      },
    });
  }
}

/**
 * Makes the stream blocking before each write. A child with Node.js that shares stdout makes it non-blocking for all processes.
 * @param {any} stream
 */
function waitWhenFull(stream) {
  const { _handle: handle, write } = stream;
  if (typeof handle?.setBlocking !== 'function') return;
  stream.write = function writeOrWait(/** @type {any[]} */ ...args) {
    handle.setBlocking(true);
    return write.apply(stream, args);
  };
}

/** @param {NodeJS.WriteStream} stream */
function dropWhenFull(stream) {
  const { write } = stream;
  let dropped = 0;
  const report = () => {
    if (dropped === 0) return;
    const text = `sluice: ${dropped} writes were dropped: they came faster than they could be kept\n`;
    dropped = 0;
    write.call(stream, text);
  };
  stream.write = function writeOrDrop(/** @type {any[]} */ ...args) {
    if (stream.writableLength > mayWait) {
      if (dropped === 0) stream.once('drain', report);
      dropped += 1;
      const callback = args.findLast((argument) => typeof argument === 'function');
      if (callback !== undefined) process.nextTick(callback);
      return false;
    }
    report();
    return write.apply(stream, /** @type {any} */ (args));
  };
}

module.exports = { limitPrinting };

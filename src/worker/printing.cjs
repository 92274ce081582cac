'use strict';

/**
 * What becomes of what a process prints while its pipe is full, because the disk does not keep up or nobody reads.
 * Node.js itself would let it pile up in memory, and lose it at `process.exit()`.
 *
 * A `--require` of its own for processes that have no gate; it also handles their stop signal. Like the bootstrap it is inherited by worker threads and by
 * `fork()`: only the process that the runner started has the variable, and only until here.
 */

/** How much may wait in memory where lines are dropped rather than waited for, in bytes. */
const mayWait = 1024 * 1024;

/** @param {'wait' | 'drop'} overflow */
function limitPrinting(overflow) {
  for (const name of /** @type {const} */ (['stdout', 'stderr'])) {
    const lazy = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(process, name));
    // Made when it is first asked for: an app that prints nothing need not wait for it to load.
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
 * Before each write: a child of the app's that has the same stdout, and is itself a Node.js, makes it non-blocking for
 * all that share it.
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
  const tell = () => {
    if (dropped === 0) return;
    const text = `sluice: ${dropped} writes were dropped: they came faster than they could be kept\n`;
    dropped = 0;
    write.call(stream, text);
  };
  stream.write = function writeOrDrop(/** @type {any[]} */ ...args) {
    if (stream.writableLength > mayWait) {
      if (dropped === 0) stream.once('drain', tell);
      dropped += 1;
      const callback = args.findLast((argument) => typeof argument === 'function');
      if (callback !== undefined) process.nextTick(callback);
      return false;
    }
    tell();
    return write.apply(stream, /** @type {any} */ (args));
  };
}

const given = process.env['SLUICE_PRINTING'];
if (given !== undefined) {
  delete process.env['SLUICE_PRINTING'];
  const own = process.execArgv.indexOf(__filename);
  if (own > 0) process.execArgv.splice(own - 1, 2);
  limitPrinting(given === 'drop' ? 'drop' : 'wait');
  const stopSignal = process.env['SLUICE_STOP_SIGNAL'];
  delete process.env['SLUICE_STOP_SIGNAL'];
  if (stopSignal === undefined) require('./stop-signal.cjs').translateStopSignal();
}

module.exports = { limitPrinting };

'use strict';

/** @import { FromWorker, ToWorker } from '../protocol/worker.ts' */

/**
 * The way to the runner, invisible to the app: Node's own IPC channel, on which messages whose `cmd` begins with
 * NODE_ are delivered as 'internalMessage' and never as 'message'. The app sees neither our messages nor the
 * runner's death, and the channel never keeps the process alive.
 */
const command = 'NODE_SLUICE';

/**
 * @param {object} on
 * @param {(message: ToWorker, handle: any) => void} on.message
 * @param {(message: unknown) => void} on.appMessage what the app sent by `process.send`
 * @param {() => void} on.lost the runner is gone
 * @returns {(message: FromWorker, handle?: unknown) => void}
 */
module.exports = function openChannel(on) {
  const send = /** @type {NonNullable<typeof process.send>} */ (process.send).bind(process);
  let lost = false;

  process.on('internalMessage', (/** @type {any} */ message, /** @type {unknown} */ handle) => {
    if (message.cmd === command) on.message(message.body, handle);
  });

  // An explicit unref also switches off the counting by which a listener for 'message' would keep the process.
  /** @type {any} */ (process).channel.unref();

  process.send = function sendToRunner(/** @type {unknown[]} */ ...args) {
    on.appMessage(args[0]);
    const callback = args.findLast((argument) => typeof argument === 'function');
    if (typeof callback === 'function') process.nextTick(callback, null);
    return true;
  };

  // Node calls this when the other end is gone, and takes the channel away right after: what would come next, a
  // 'disconnect' event and `process.send` throwing, is not for the app to see. A call by the app changes nothing.
  process.disconnect = function ignore() {
    process.nextTick(() => {
      if (lost || process.channel) return;
      lost = true;
      on.lost();
    });
  };

  return (message, handle) => {
    if (lost) return;
    // A failed write means that the runner is gone, and `lost` follows; the callback keeps it from being thrown.
    const failed = () => undefined;
    send({ cmd: command, body: message }, /** @type {any} */ (handle), { keepOpen: true }, failed);
  };
};

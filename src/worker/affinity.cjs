'use strict';

const { Handoff } = require('./handoff.cjs');

/** @import { AffinityBoot } from '../protocol/worker.ts' */
/** @typedef {InstanceType<typeof Handoff>} Inbox */

/**
 * Sends each client to the same worker of its generation: the slot of the worker follows from the address of the client. A
 * worker that accepts a connection of another slot puts it into the inbox of that slot, before anything is read from it.
 *
 * An inbox is a handoff that one slot takes from. The slot keeps its inbox if its worker is replaced, so connections wait there
 * until the next worker opens.
 */
class Affinity {
  #slot;
  /** @type {Inbox[]} by slot */
  #inboxes;

  /**
   * @param {AffinityBoot} boot
   * @param {any} Pipe class of the handles of pipes
   */
  constructor({ slot, take, give }, Pipe) {
    this.#slot = slot;
    this.#inboxes = give.map((fd) => new Handoff({ take, give: fd }, Pipe));
  }

  get #own() {
    return /** @type {Inbox} */ (this.#inboxes[this.#slot]);
  }

  /**
   * Passes a connection on if another slot has its client.
   * @param {any} handle
   * @returns {boolean} false if this worker must serve the connection
   */
  route(handle) {
    const slot = slotOf(addressOf(handle), this.#inboxes.length);
    if (slot === this.#slot) return false;
    this.#inboxes[slot]?.pass(handle);
    return true;
  }

  /** Takes the connections of this slot from now on. @param {(handle: any) => void} taken */
  take(taken) {
    this.#own.take(taken);
  }

  /** Stops taking connections, from this instant on. */
  stop() {
    this.#own.stop();
  }

  /** Passes the connections of this slot on, because this worker has retired. @param {Inbox} handoff */
  passTo(handoff) {
    this.#own.take((handle) => handoff.pass(handle));
  }

  /** true if the inbox has connections that this worker must take */
  get hasToTake() {
    return this.#own.hasToTake;
  }

  /** true if no connection is on its way to another slot */
  get hasPassedAll() {
    return this.#inboxes.every(({ isGiverIdle }) => isGiverIdle);
  }

  /** true if no connection is in the inbox of this slot */
  get isEmpty() {
    return this.#own.isEmpty;
  }
}

/**
 * Returns the address of the client of a connection; '' if there is none, because the client has closed it.
 * @param {any} handle
 */
function addressOf(handle) {
  /** @type {{ address?: string }} */
  const peer = {};
  if (handle.getpeername?.(peer) !== 0) return '';
  return (peer.address ?? '').replace(/^::ffff:/, '');
}

/**
 * Returns the slot of a client. All workers of a generation have the same number of slots, and thus the same result.
 * @param {string} address
 * @param {number} count number of slots
 */
function slotOf(address, count) {
  // FNV-1a, and the last step of MurmurHash3: addresses often differ in their last digit only.
  let hash = 0x811c9dc5;
  for (let index = 0; index < address.length; index += 1) {
    hash = Math.imul(hash ^ address.charCodeAt(index), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % count;
}

module.exports = { Affinity, slotOf };

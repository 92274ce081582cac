'use strict';

const { Handoff } = require('./handoff.cjs');

/** @import { AffinityBoot } from '../protocol/worker.ts' */
/** @typedef {InstanceType<typeof Handoff>} Inbox */

/**
 * Limit of the connections that wait in a worker for the inbox of a slot, besides those in the inbox: a slot may stay without a worker,
 * and must not use up the descriptors of the others.
 */
const mostWaiting = 256;

/**
 * Sends each client to the same worker of its generation: the slot of the worker follows from the address of the client. A
 * worker that accepts a connection of another slot puts it into the inbox of that slot, before anything is read from it.
 *
 * An inbox is a handoff that one slot takes from. The slot keeps its inbox if its worker is replaced, so connections wait there
 * until the next worker opens. When the generation retires, each of its workers empties all inboxes: one slot may be empty, and
 * another one may give connections until its own end.
 */
class Affinity {
  #slot;
  /** @type {Inbox[]} by slot */
  #inboxes;
  /** true once this worker may end: a connection that it takes after that would be lost */
  #hasEnded = false;
  /** true if this worker must not end before all inboxes are empty: no other process may pass their connections on */
  mustBeEmpty = true;

  /**
   * @param {AffinityBoot} boot
   * @param {any} Pipe class of the handles of pipes
   */
  constructor({ slot, take, give }, Pipe) {
    this.#slot = slot;
    this.#inboxes = give.map(
      (fd, index) => new Handoff({ take: /** @type {number} */ (take[index]), give: fd }, Pipe),
    );
  }

  get #own() {
    return /** @type {Inbox} */ (this.#inboxes[this.#slot]);
  }

  /**
   * Passes a connection on if another slot has its client.
   * @param {any} handle
   * @returns {boolean} false if this worker must serve the connection; true also if it is closed, because too many wait
   */
  route(handle) {
    const slot = slotOf(addressOf(handle), this.#inboxes.length);
    if (slot === this.#slot) return false;
    const inbox = /** @type {Inbox} */ (this.#inboxes[slot]);
    if (inbox.waiting < mostWaiting) inbox.pass(handle);
    else handle.close();
    return true;
  }

  /** Takes the connections of this slot from now on. @param {(handle: any) => void} taken */
  take(taken) {
    this.stop();
    this.#hasEnded = false;
    this.mustBeEmpty = true;
    this.#own.take(taken);
  }

  /** Stops taking connections, from this instant on. */
  stop() {
    for (const inbox of this.#inboxes) inbox.stop();
  }

  /** Passes the connections of all slots on, because the generation has retired. @param {Inbox} handoff */
  passTo(handoff) {
    if (this.#hasEnded) return;
    for (const inbox of this.#inboxes) inbox.take((handle) => handoff.pass(handle));
  }

  /** Takes no connection any more: this worker may end at any time. */
  end() {
    this.#hasEnded = true;
    this.stop();
  }

  /** true if the inbox has connections that this worker must take */
  get hasToTake() {
    return this.#own.hasToTake;
  }

  /** true if this worker may end as far as its inboxes are concerned */
  get mayEnd() {
    return this.#inboxes.every((inbox) => (this.mustBeEmpty ? inbox.isEmpty : inbox.isGiverIdle));
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

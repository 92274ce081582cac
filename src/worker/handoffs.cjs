'use strict';

const { fstatSync } = require('node:fs');

/** @typedef {import('./handoff.cjs').Ends} Ends */
/** @typedef {InstanceType<typeof import('./handoff.cjs').Handoff>} Handoff */

/**
 * The handoffs that a worker knows: its runner's, and then those of later runners. Connections leave through the latest.
 * The class `Handoff` is loaded with the first use, because the start of an app does not need it.
 */
class Handoffs {
  #ends;
  #Pipe;
  #log;
  /** @type {Handoff[]} */
  #all = [];
  /** inodes of the worker's own ends at the start */
  #inodes;
  /** true if this worker must not end before its handoffs are empty: no other process may have them */
  mustBeEmpty = true;
  /** @type {InstanceType<typeof import('./affinity.cjs').Affinity> | undefined} if each client has a worker */
  affinity;

  /**
   * @param {Ends} ends of the runner's handoff
   * @param {any} Pipe class of the handles of pipes
   * @param {(text: string) => void} log
   */
  constructor(ends, Pipe, log) {
    this.#ends = ends;
    this.#Pipe = Pipe;
    this.#log = log;
    this.#inodes = inodesOf(ends);
  }

  /** Names the fault if the app has closed an end, or opened something else with its descriptor. @returns {string | undefined} */
  get fault() {
    if (this.#inodes !== undefined && inodesOf(this.#ends) === this.#inodes) return undefined;
    const { take, give } = this.#ends;
    return `the app has closed descriptor ${take} or ${give}, which belongs to Sluice`;
  }

  /** The handoff of this worker's own runner. */
  get own() {
    const Handoff = handoffClass();
    const { fault } = this;
    if (fault !== undefined) this.#log(`cannot hand over idle connections: ${fault}`);
    this.#all[0] ??= new Handoff(this.#ends, this.#Pipe, () => this.fault !== undefined);
    return this.#all[0];
  }

  /** Returns the handoff that connections leave through. */
  get latest() {
    return this.#all.at(-1) ?? this.own;
  }

  /**
   * Adds the handoff of a later runner. Passes on to it the connections in the former handoffs: perhaps no other process takes
   * them.
   * @param {Ends} ends
   */
  add(ends) {
    const Handoff = handoffClass();
    const next = new Handoff(ends, this.#Pipe);
    const formers = this.#all.length === 0 ? [this.own] : this.#all;
    for (const former of formers) former.take((handle) => next.pass(handle));
    this.#all.push(next);
  }

  /** Lets this worker end before its handoffs are empty. @param {{ inboxes?: boolean }} [options] also before its inboxes are */
  abandon({ inboxes = true } = {}) {
    this.mustBeEmpty = false;
    if (inboxes && this.affinity) this.affinity.mustBeEmpty = false;
  }

  /** true if connections wait that this worker must take */
  get hasToTake() {
    return this.affinity?.hasToTake === true || this.#all.some(({ hasToTake }) => hasToTake);
  }

  /** true if this worker may end as far as its handoffs are concerned */
  get mayEnd() {
    if (this.affinity?.mayEnd === false) return false;
    if (this.mustBeEmpty) return this.#all.every(({ isEmpty }) => isEmpty);
    // Connections of inboxes are still on their way to the handoff.
    return this.affinity === undefined || this.#all.every(({ isGiverIdle }) => isGiverIdle);
  }
}

/**
 * @param {Ends} ends
 * @returns {string | undefined} inodes of both; undefined if one of them is closed, or is not a socket
 */
function inodesOf({ take, give }) {
  try {
    const found = [take, give].map((fd) => fstatSync(fd));
    return found.every((each) => each.isSocket()) ? found.map(({ ino }) => ino).join(' ') : undefined;
  } catch {
    return undefined;
  }
}

/** @type {typeof import('./handoff.cjs').Handoff | undefined} */
let loaded;

function handoffClass() {
  loaded ??= require('./handoff.cjs').Handoff;
  return loaded;
}

module.exports = { Handoffs };

'use strict';

const { readFileSync } = require('node:fs');
const { leave } = require('./leave.cjs');
const { connectToRunner } = require('./runner-socket.cjs');

/** @import { ActiveRelease } from '../protocol/runner.ts' */
/** @import { FromOrphan, ToOrphan } from '../protocol/worker.ts' */
/** @typedef {InstanceType<typeof import('./worker.cjs').Worker>} Worker */

/** Interval between two attempts of a worker without a runner to connect to the next one, in ms. */
const retryInterval = 200;
/**
 * Time during which an orphan keeps serving after it has read that another generation is active, in ms. That generation opens
 * within milliseconds, and a runner that knows the orphan then retires it.
 */
const openPatience = 300;
/**
 * Longest time that a worker waits for orphans of an earlier runner to retire if no runner sends `serve`, in ms. It must not
 * answer before that.
 */
const servePatience = 1000;
/** Number of times that an orphan asks for a handoff of which an end is missing. A runner answers twice a second. */
const mostAsked = 15;
/**
 * Life of a worker whose runner is gone. An active generation must accept, and no old release may answer a request
 * once a newer one has answered. The `generation` file decides. A runner replaces the file before it opens a new generation, and a
 * runner that is gone cannot replace it.
 *
 * - The file names this generation: the worker opens, or stays open. It reports to the next runner, which retires the worker
 *   when a fresh generation is ready. That runner may die before, or not know the worker. So the worker keeps reading the file
 *   while it has no runner, and retires before the workers of the fresh generation stop waiting (`servePatience`). A worker
 *   that its runner had replaced or stopped stays retired.
 * - The file names a later generation with the same handoff: the worker retires, and gives its idle connections to the workers
 *   of that generation.
 * - The file names any other generation: the worker retires, and the next runner sends the handoff for its idle connections.
 *
 * The next runner may die, too. Its workers then retire, and the orphans get another handoff. However often this happens, an
 * orphan passes the connections in former handoffs on to the latest one, reports to each runner that it has retired, and ends
 * `drainTimeout` after it has retired. In exec mode a runner ends the worker, once all its processes have reported `drained`.
 */
class Orphan {
  #worker;
  /** fulfilled when this orphan accepts no new requests; undefined before it retires */
  #shut = /** @type {Promise<void> | undefined} */ (undefined);
  /** true if the destination of its idle connections is known */
  #isSettled = false;
  /** id of the last handoff that a runner has sent */
  #handoff = /** @type {string | undefined} */ (undefined);
  #timesAsked = 0;

  /** @param {Worker} worker */
  constructor(worker) {
    this.#worker = worker;
  }

  live() {
    const worker = this.#worker;
    const active = activeFor(worker);
    const role = active === 'own' ? worker.role : undefined;
    if (role === 'opens') this.#serve();
    else void this.#leave();
    if (active === 'sibling') this.#settle(() => worker.handOff());
    if (role === 'replaced') this.#settle(() => worker.handOff(undefined, { inboxes: false }));
    if (active === 'none' || role === 'stopped') this.#settle(() => worker.keepConnections());
    this.#report();
  }

  /** Retires if another generation has become the active one. */
  #check() {
    if (this.#shut !== undefined || activeFor(this.#worker) === 'own') return;
    setTimeout(() => void this.#leave(), openPatience).unref();
  }

  #serve() {
    const worker = this.#worker;
    const open = () => {
      worker.openAlone();
      setTimeout(() => worker.serve(), servePatience).unref();
    };
    if (worker.state !== 'booting') open();
    else worker.onReady = () => activeFor(worker) === 'own' && open();
  }

  /** @returns {Promise<void>} */
  #leave() {
    this.#shut ??= new Promise((resolve) => leave(this.#worker, () => resolve()));
    return this.#shut;
  }

  /** @param {() => void} settle */
  #settle(settle) {
    this.#isSettled = true;
    void this.#leave().then(settle);
  }

  /** Keeps a connection to the current runner, and follows its messages. */
  #report() {
    const worker = this.#worker;
    const { key, orphanSocket, secret } = worker.boot;
    /** @type {any} handle of the end to take connections from */
    let take;
    connectToRunner(orphanSocket, {
      connected: (/** @type {Post} */ post) => {
        const member = worker.commandPid === undefined ? undefined : process.pid;
        post({
          type: 'orphan',
          key,
          pid: worker.commandPid ?? process.pid,
          secret,
          ...(member && { member }),
        });
        // A runner kills orphans that have not retired.
        if (this.#isSettled) void this.#leave().then(() => post({ type: 'retired' }));
        worker.onDrained(() => post({ type: 'drained' }));
      },
      message: (/** @type {ToOrphan} */ message, handle, post) => {
        if (message.type === 'handoff') take = handle;
        if (message.type !== 'retire') return;
        this.#retire(message, { take, give: handle }, post);
        take = undefined;
      },
      lost: () => {
        take?.close();
        take = undefined;
        this.#check();
        setTimeout(() => this.#report(), retryInterval).unref();
      },
    });
  }

  /**
   * @param {Retire} message
   * @param {{ take: any, give: any }} ends `give`: handle that came with this message; `take`: with the `handoff` before
   * @param {Post} post
   */
  #retire({ handoff, last }, { take, give }, post) {
    const worker = this.#worker;
    const isKnown = handoff !== undefined && handoff === this.#handoff;
    if (take !== undefined && give !== undefined && !isKnown) {
      this.#handoff = handoff;
      this.#timesAsked = 0;
      this.#settle(() => {
        post({ type: 'retired' });
        worker.handOff({ take: take.fd, give: give.fd });
      });
      return;
    }
    take?.close();
    give?.close();
    if (handoff !== undefined && !isKnown && this.#timesAsked < mostAsked) {
      this.#timesAsked += 1;
      void this.#leave().then(() => post({ type: 'retired', lacksHandoff: true }));
    } else if (!this.#isSettled)
      this.#settle(() => {
        post({ type: 'retired' });
        worker.keepConnections();
      });
    else if (last) void this.#leave().then(() => worker.abandonHandoffs());
  }
}

/**
 * Reads which generation is active, relative to a worker.
 * @param {Worker} worker
 * @returns {'own' | 'sibling' | 'other' | 'none'} `sibling`: another generation with the same handoff
 */
function activeFor({ boot, handoffId }) {
  try {
    const active = /** @type {ActiveRelease} */ (JSON.parse(readFileSync(boot.generationFile, 'utf8')));
    const { generation, handoff } = active;
    if (generation === boot.generation) return 'own';
    return handoff === handoffId ? 'sibling' : 'other';
  } catch (error) {
    // Without the file, no generation was ever active. An unreadable file must stop no worker from accepting.
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT' ? 'none' : 'own';
  }
}

/** @typedef {(message: FromOrphan) => void} Post */
/** @typedef {Extract<ToOrphan, { type: 'retire' }>} Retire */

module.exports = { Orphan };

'use strict';

const { readFileSync } = require('node:fs');
const { connect } = require('node:net');

/** @import { FromOrphan, ToOrphan } from '../protocol/worker.ts' */
/** @typedef {InstanceType<typeof import('./worker.cjs').Worker>} Worker */

/** How often a worker without a runner looks for the next one, in ms. */
const retryInterval = 200;
/** How often an orphan reads which generation is active, in ms. */
const lookInterval = 1000;
/**
 * An orphan ends by itself when another generation has been active for so many looks. The runner retires an orphan within
 * milliseconds, once the new workers accept connections; an orphan that is unknown to the runner must not come before that.
 */
const patientLooks = 3;
/** A round of the event loop that takes less had nothing to do; in ms. One that does nothing takes a tenth of it. */
const quietRound = 0.1;
/** How long such a round is waited for, in ms: under full load there may be none. */
const quietPatience = 200;

/**
 * The life of a worker whose runner is gone. No gate may stay shut: when its generation is the active one it opens,
 * or stays open; when another is, it drains and ends. It looks for the next runner, which will retire it once a fresh
 * generation stands beside it.
 * @param {Worker} worker
 */
function liveAlone(worker) {
  if (isActive(worker)) {
    if (worker.state === 'booting') worker.onReady = () => worker.open();
    else if (worker.state !== 'open') worker.open();
    const life = { isOver: false };
    report(worker, life);
    leaveWhenSuperseded(worker, life);
  } else {
    leave(worker);
  }
}

/**
 * Ends an orphan that no runner retires: one without a record is unknown to them, and would serve an old release for ever.
 * @param {Worker} worker
 * @param {{ isOver: boolean }} life
 */
function leaveWhenSuperseded(worker, life) {
  let looks = 0;
  const timer = setInterval(() => {
    looks = isActive(worker) ? 0 : looks + 1;
    if (!life.isOver && looks < patientLooks) return;
    clearInterval(timer);
    if (life.isOver) return;
    life.isOver = true;
    leave(worker);
  }, lookInterval).unref();
}

/** @param {Worker} worker */
function isActive(worker) {
  try {
    return JSON.parse(readFileSync(worker.boot.generationFile, 'utf8')).generation === worker.boot.generation;
  } catch (error) {
    // No file: nothing was ever active, so neither is this one. A file that cannot be read must not shut a gate.
    return /** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT';
  }
}

/**
 * Keeps a connection to whichever runner there is, and does what it says.
 * @param {Worker} worker
 * @param {{ isOver: boolean }} life
 */
function report(worker, life) {
  const { version, key, generation, release, orphanSocket, secret } = worker.boot;
  const socket = connect(orphanSocket);
  socket.unref();
  socket.setEncoding('utf8');
  /** @param {FromOrphan} message */
  const post = (message) => socket.write(`${JSON.stringify(message)}\n`);
  socket.on('connect', () =>
    post({ type: 'orphan', version, key, generation, release, pid: process.pid, secret }),
  );
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\n');
    text = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      const message = /** @type {ToOrphan} */ (JSON.parse(line));
      if (message.type !== 'retire' || life.isOver) continue;
      life.isOver = true;
      leave(worker, () => post({ type: 'retired' }));
    }
  });
  // 'close' follows; while no runner listens there is nothing to do but to try again.
  socket.on('error', () => undefined);
  socket.on('close', () => {
    if (!life.isOver) setTimeout(report, retryInterval, worker, life).unref();
  });
}

/**
 * Drains and ends itself: its own signal to itself cannot hit anybody else, as a pid kept by others might.
 * @param {Worker} worker
 * @param {() => void} retired told when it takes nothing new any more
 */
function leave(worker, retired = () => undefined) {
  let ending = false;
  const end = () => {
    if (ending) return;
    ending = true;
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), worker.boot.killTimeout).unref();
    process.kill(process.pid, 'SIGTERM');
  };
  worker.forgetGate();
  whenQuiet(() => {
    worker.retireAlone();
    retired();
    setTimeout(end, worker.boot.drainTimeout).unref();
    worker.whenDrained(end);
  });
}

/**
 * Connections that wait in the kernel are reset with the last socket that listens. So all are accepted first, until a
 * whole round of the event loop has had nothing to do; right after that `then` runs.
 * @param {() => void} then
 */
function whenQuiet(then) {
  const latest = performance.now() + quietPatience;
  const round = () => {
    const start = performance.now();
    setImmediate(() => {
      const now = performance.now();
      if (now - start < quietRound || now > latest) then();
      else round();
    });
  };
  // The first one may begin in the middle of a round.
  setImmediate(round);
}

module.exports = { leave, liveAlone, whenQuiet };

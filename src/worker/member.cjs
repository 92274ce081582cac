'use strict';

const { offerSend } = require('./channel.cjs');
const { useCompileCache } = require('./compile-cache.cjs');
const { interceptListen } = require('./listen.cjs');
const { replacePm2 } = require('./pm2-module.cjs');
const { limitPrinting } = require('./printing.cjs');

/** @import { ExecBoot, LoadBoot, MemberGreeting, ToMember, ToWorker } from '../protocol/worker.ts' */
/** @typedef {InstanceType<typeof import('./worker.cjs').Worker>} Worker */

/**
 * Pause before the next attempt to join the worker, in ms: its runner may be gone, the worker may have retired, or may have too many
 * members. The pause doubles up to its limit.
 */
const retryPause = { first: 200, longest: 2000 };

/**
 * Prepares a process of an exec worker. The process becomes a member of the worker with its first `listen` on a TCP port. Until
 * then it has no connection to the runner: most processes are shells, package managers and tools.
 * @param {ExecBoot} boot
 */
function becomeMember(boot) {
  // Worker threads inherit the variable, too.
  if (!require('node:worker_threads').isMainThread) return;
  useCompileCache(boot.directory);
  limitPrinting(boot.overflow);
  replacePm2();
  /** @type {Worker | undefined} */
  let worker;
  let isReported = false;
  /** @type {any} last message with metrics before that */
  let metrics;
  const member = () => {
    if (worker !== undefined) return worker;
    const { Worker } = require('./worker.cjs');
    worker = new Worker(boot);
    if (isReported) worker.hear('ready');
    worker.hear(metrics);
    join(worker);
    return worker;
  };
  interceptListen(
    { ...boot, isMember: true },
    {
      chosen: (call) => member().listen(call),
      other: (call) => {
        member().listenBesides(call);
        member().noteOtherPort(call.port);
      },
      forked: () => member().noteForks(),
    },
  );
  watchReports((/** @type {any} */ message) => {
    if (worker !== undefined) return worker.hear(message);
    isReported ||= message === 'ready';
    if (message?.type === 'axm:monitor') metrics = message;
  });
}

/** @param {(message: unknown) => void} sent called with each message of the app to its parent process */
function watchReports(sent) {
  const { send } = process;
  if (send === undefined) return offerSend(sent);
  process.send = function sendAndReport(/** @type {any[]} */ ...args) {
    sent(args[0]);
    return /** @type {any} */ (send).apply(this, args);
  };
}

/** @param {Worker} worker @param {number} [pause] before another attempt, in ms */
function join(worker, pause = retryPause.first) {
  const { key, secret, orphanSocket } = worker.boot;
  const { connectToRunner } = require('./runner-socket.cjs');
  /** @type {any} */
  let Pipe;
  /** @type {any[]} handles of the listening socket */
  let sockets = [];
  /** @type {any} */
  let take;
  let hasJoined = false;
  let close = () => {};
  connectToRunner(orphanSocket, {
    connected: (/** @type {(message: MemberGreeting) => void} */ post, pipeClass, disconnect) => {
      Pipe = pipeClass;
      close = disconnect;
      post({ type: 'member', key, pid: process.pid, secret });
    },
    message: (/** @type {ToMember | ToWorker} */ message, handle, post) => {
      if (message.type === 'socket') {
        if (handle !== undefined) sockets.push(handle);
      } else if (message.type === 'handoff') take = handle;
      else if (message.type !== 'joined') worker.receive(message);
      else if (take === undefined || handle === undefined || sockets.length === 0) {
        // The kernel drops a descriptor if this process has no free one.
        handle?.close();
        close();
      } else {
        hasJoined = true;
        worker.attach({
          .../** @type {any} */ ({ post, Pipe }),
          ends: { take: take.fd, give: handle.fd },
          handoffId: message.handoff,
          commandPid: message.pid,
          load: openLoads(message),
          sockets: sockets.map((socket) => ({ open: () => socket, close: () => socket.close() })),
        });
      }
    },
    lost: () => {
      if (hasJoined) return worker.live();
      take?.close();
      for (const socket of sockets) socket.close();
      sockets = [];
      setTimeout(() => join(worker, Math.min(2 * pause, retryPause.longest)), pause).unref();
    },
  });
}

/**
 * Opens the load table through the process of the command, which has its descriptor: the runner cannot send a file.
 * @param {Extract<ToMember, { type: 'joined' }>} message
 * @returns {LoadBoot | null} null if the system refuses that: this process then accepts whatever its siblings have
 */
function openLoads({ load, pid }) {
  if (load === null) return null;
  try {
    return { ...load, fd: require('node:fs').openSync(`/proc/${pid}/fd/${load.fd}`, 'r+') };
  } catch {
    return null;
  }
}

module.exports = { becomeMember };

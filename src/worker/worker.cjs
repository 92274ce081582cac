'use strict';

const { closeSync, fstatSync } = require('node:fs');
const openChannel = require('./channel.cjs');
const {
  createHandle,
  interceptListen,
  privatePort,
  protocolOf,
  serves,
  speaksHttp,
} = require('./listen.cjs');
const { limitPrinting } = require('./printing.cjs');
const { handlesOnlyInterrupt, translateStopSignal } = require('./stop-signal.cjs');

/** @import { Server } from 'node:net' */
/** @import { Acceptor } from './acceptor.cjs' */
/** @import { ToWorker, WorkerBoot } from '../protocol/worker.ts' */
/** @typedef {import('./handoff.cjs').Ends} Ends */
/** @typedef {InstanceType<typeof import('./handoff.cjs').Handoff>} Handoff */
/** @typedef {InstanceType<typeof import('./leaving-connections.cjs').LeavingConnections>} LeavingConnections */
/** @typedef {import('./listen.cjs').Listen} Listen */

/** Interval between checks of a server that does not handle its connections yet, in ms. */
const servesPause = 20;

/**
 * Longest time that a retired worker keeps accepting waiting connections on ports besides the app's own, in ms: while other
 * workers accept most connections, and while no other worker accepts any.
 */
const relievedPatience = 5000;
const endPatience = 200;
/**
 * Longest wait for the next request of a session of HTTP/2 before the worker ends the session, in ms. Without TLS the
 * client is a proxy as a rule: it has several sessions, so its users see answers of both releases meanwhile. With TLS
 * the client is far away, and a GOAWAY costs it the requests of a whole round trip.
 */
const requestPatience = { plain: 100, encrypted: 1000 };
/** Interval at which a worker with no other work checks whether its handoffs are empty, in ms. */
const emptyPause = 10;

/**
 * The worker's own view of itself. It is `booting` until the app listens, `ready` until told to open, `open` while it
 * accepts connections, `retired` from then on; a worker without a runner may go back from `retired` to `open`.
 */
class Worker {
  /** @type {'booting' | 'ready' | 'open' | 'retired'} */
  state = 'booting';
  boot;
  #post;
  /** class of the handles of pipes */
  Pipe;
  /** @type {Server | undefined} */
  #server;
  #backlog = 0;
  #saidReady = false;
  /** @type {NodeJS.Timeout | undefined} */
  #announceLater;
  /** true if the runner is gone */
  #isOrphan = false;
  /** true if this worker has read from connections: no orphan of an earlier runner has answered since then */
  #hasServed = false;
  /** @type {Acceptor | undefined} */
  #gate;
  /** @type {InstanceType<typeof import('./other-ports.cjs').OtherPorts> | undefined} ports beside the app's own */
  #otherPorts;
  /** true if other workers have the ports besides the app's own, so that this worker can shut them */
  #isRelieved = false;
  /** true if another worker of the same generation, or of a later one, has opened in place of this one */
  #isReplaced = false;
  /** time at which this worker stopped accepting requests; undefined while it accepts them */
  #retiredAt = /** @type {number | undefined} */ (undefined);
  #closeAnnounced = false;
  /** what goes on while it is retired, and ends should it open again */
  #leaving = /** @type {(() => void)[]} */ ([]);
  #sessions = /** @type {Set<any>} */ (new Set());
  /** longest waits for the next request of a session, in ms */
  #requestPatience;
  /** @type {LeavingConnections | undefined} */
  #leavingConnections;
  /** @type {Handoff[]} handoffs of this worker's runner and then of later runners; connections leave through the last one */
  #handoffs = [];
  /** inodes of the ends of the first one, at the start */
  #inodes;
  /** true if this worker must not end before its handoffs are empty: it may be the last process that holds them */
  #answersForHandoffs = true;

  /** @param {WorkerBoot} boot */
  constructor(boot) {
    this.boot = boot;
    this.#inodes = inodesOf(boot.handoffFds);
    const longest = boot.drainTimeout / 2;
    this.#requestPatience = {
      plain: Math.min(requestPatience.plain, longest),
      encrypted: Math.min(requestPatience.encrypted, longest),
    };
    limitPrinting(boot.overflow);
    if (boot.stopSignal === null) translateStopSignal();
    const { post, Pipe } = openChannel(boot.channelFd, {
      message: (message) => this.#receive(message),
      appMessage: (message) => {
        if (message !== 'ready') return;
        this.#saidReady = true;
        this.#announce();
      },
      lost: () => this.#orphaned(),
    });
    this.#post = post;
    this.Pipe = Pipe;
    interceptListen(boot, {
      chosen: (call) => this.#serve(call),
      other: (call) => {
        this.#otherPorts ??= new (require('./other-ports.cjs').OtherPorts)();
        this.#noteSessions(call.server);
        this.#otherPorts.add(call);
      },
      forked: () => this.#post({ type: 'forked' }),
    });
  }

  /** @param {Listen} call */
  #serve({ server, backlog }) {
    const reopen = this.state === 'open';
    this.#gate?.close();
    this.#gate = undefined;
    if (server !== this.#server) this.#noteSessions(server);
    this.#server = server;
    this.#backlog = backlog;
    if (reopen) this.open();
    if (server.listening) this.#announce();
    else server.once('listening', () => this.#announce());
  }

  /** @param {Server} server */
  #noteSessions(server) {
    server.on('session', (session) => {
      // One whose handshake was under way when the others were told.
      if (this.#closeAnnounced) this.#leaving.push(traffic().endSession(session, this.#requestPatience));
      this.#sessions.add(session);
      session.once('close', () => this.#sessions.delete(session));
    });
  }

  /** Said again where the app listens anew: its private port is another then. */
  #announce() {
    const server = this.#server;
    clearTimeout(this.#announceLater);
    if (!server?.listening || (this.boot.waitReady && !this.#saidReady)) return;
    // A server that only tests if the port is free would never read the request of a health check.
    if (!serves(server)) {
      this.#announceLater = setTimeout(() => this.#announce(), servesPause).unref();
      return;
    }
    const first = this.state === 'booting';
    // Idle connections of the release before would wait in the handoff for ever.
    if (first && this.#hasLostHandoff()) {
      traffic().say(`ends: ${this.#lostHandoff}`);
      process.exit(1);
    }
    if (first) this.state = 'ready';
    this.#post({
      type: 'ready',
      port: privatePort(server),
      protocol: protocolOf(server),
      listens: /** @type {any} */ (server.address()).port,
      onlyInterrupt: handlesOnlyInterrupt(),
    });
    if (!first) return;
    this.onReady?.();
    setImmediate(() => {
      traffic().beat(this.boot.beatInterval, () => this.#server, this.#post);
      this.#watchMemory();
    });
  }

  #watchMemory() {
    const { maxMemory } = this.boot;
    if (maxMemory === null) return;
    traffic().watchMemory(maxMemory, {
      server: () => this.#server,
      exceeded: (bytes) => this.#post({ type: 'memoryExceeded', bytes }),
      excessive: () => {
        // An orphan keeps serving, because no runner would replace it.
        if (this.state !== 'open' || this.#isOrphan) return false;
        this.#retire();
        return true;
      },
    });
  }

  /** @type {(() => void) | undefined} */
  onReady;

  /** @param {ToWorker} message */
  #receive(message) {
    switch (message.type) {
      case 'open':
        this.open(message.wait);
        return this.#post({ type: 'opened' });
      case 'serve':
        return this.serve();
      case 'retire':
        if (message.last) return this.#retireForGood();
        // The worker may have retired by itself: see `#watchMemory`.
        return this.state === 'retired' ? undefined : this.#retire();
      case 'relieve':
        if (this.state === 'retired') {
          this.#isReplaced = true;
          this.giveAway();
        }
        return this.#shutOtherPorts(relievedPatience);
      case 'reportInFlight':
        return this.#reportInFlight();
    }
  }

  #reportInFlight() {
    const { named, requests, connections } = this.inFlight;
    for (const request of named) this.#post({ type: 'request', ...request });
    this.#post({ type: 'inFlight', requests, connections });
  }

  /** Requests and connections that are not finished. */
  get inFlight() {
    return traffic().inFlight(this.#server);
  }

  /** @param {boolean} wait true if nothing may be read from connections before `serve` */
  open(wait = false) {
    const server = this.#server;
    if (server === undefined) return;
    // Without a copy of the socket, this worker cannot open. It finishes its requests and ends, and the runner replaces it.
    if (this.boot.gateFds.length === 0) return traffic().leave(this, () => this.keepConnections());
    for (const end of this.#leaving.splice(0)) end();
    this.#leavingConnections?.keep();
    this.#answersForHandoffs = true;
    this.#isReplaced = false;
    this.#retiredAt = undefined;
    this.state = 'open';
    this.#otherPorts?.open();
    if (server.listening) this.#openGate(server);
    if (wait) this.#gate?.wait();
    else this.#takeConnections();
  }

  /** Serves connections that were accepted since `open` with `wait`, and later ones. */
  serve() {
    if (this.state !== 'open') return;
    this.#gate?.serve();
    this.#takeConnections();
  }

  /** @param {Server} server */
  #openGate(server) {
    const handle = createHandle(null, null, null, this.boot.gateFds.shift());
    const gate = typeof handle === 'number' ? handle : traffic().acceptFor(server, handle, this.#backlog);
    if (typeof gate !== 'number') this.#gate = gate;
    else server.emit('error', new Error(`the gate cannot be opened: error ${gate}`));
  }

  #takeConnections() {
    this.#hasServed = true;
    this.#ownHandoff().take((handle) => this.#taken(handle));
  }

  /** @param {any} handle */
  #taken(handle) {
    const server = /** @type {Server} */ (this.#server);
    if (server.listening) return traffic().adopt(server, handle);
    // The app has closed its server, and may listen again.
    this.#ownHandoff().stop();
    server.once('listening', () => this.state === 'open' && this.#takeConnections());
    this.#ownHandoff().pass(handle);
  }

  /**
   * Takes no new request from this instant: none that is accepted, none on a connection that is idle. Idle connections
   * stay here, unread, until other workers have opened: giving them away would delay these.
   */
  #retire() {
    this.#shut();
    const server = /** @type {Server} */ (this.#server);
    if (server !== undefined && protocolOf(server) === 'http') {
      const idle = traffic().movableConnections(server);
      for (const socket of idle) /** @type {any} */ (socket)._handle.readStop();
      this.#post({ type: 'retired' });
      this.#park(server, idle);
    } else {
      this.#post({ type: 'retired' });
      this.#announceClose();
    }
    this.whenDrained(() => this.#post({ type: 'drained' }));
  }

  /**
   * Shuts the ports besides the app's own: from now on other workers have them, or no worker.
   * @param {number} patience
   */
  #shutOtherPorts(patience) {
    const ports = this.#otherPorts;
    if (this.state !== 'retired' || this.#isRelieved || ports === undefined) return;
    ports.shut(patience, () => {
      this.#isRelieved = true;
      for (const server of ports.servers) {
        if (speaksHttp(protocolOf(server)))
          this.#leaving.push(traffic().announceClose(server, this.#sessions, this.#requestPatience));
      }
      this.#lookIfDrained();
    });
  }

  /** The app is to stop: nobody will answer on idle connections. */
  #retireForGood() {
    this.forgetGate();
    // Who has connected before is answered.
    traffic().whenQuiet(this, () => this.#endForGood());
  }

  #endForGood() {
    this.#answersForHandoffs = false;
    this.#shut();
    this.#requestPatience = { plain: 0, encrypted: 0 };
    this.#shutOtherPorts(endPatience);
    this.#post({ type: 'retired' });
    const server = this.#server;
    if (server !== undefined && speaksHttp(protocolOf(server))) this.#announceClose();
    for (const each of this.#drainingServers()) {
      // HTTP/2 sessions have been asked to close, and close by themselves.
      if (!('closeIdleConnections' in each)) continue;
      const close = () => {
        for (const socket of traffic().idleConnections(each)) socket.destroy();
      };
      close();
      this.#leaving.push(traffic().watchForIdle(each, close));
    }
    this.whenDrained(() => this.#post({ type: 'drained' }));
  }

  /**
   * Accepts no new requests from this instant on, for an orphan. Reads nothing from connections that are idle, or become idle,
   * until `giveAway` or `keepConnections` sets their destination.
   */
  retireAlone() {
    this.forgetGate();
    this.#shut();
    this.#shutOtherPorts(endPatience);
    const server = /** @type {Server} */ (this.#server);
    if (server === undefined || protocolOf(server) !== 'http') return this.#announceClose();
    this.#park(server, traffic().movableConnections(server));
  }

  /**
   * Stops reading from connections that are idle or become idle.
   * @param {Server} server
   * @param {any[]} idle those that are so now
   */
  #park(server, idle) {
    const leaving = this.#getLeavingConnections();
    leaving.park();
    leaving.add(idle);
    const found = () => leaving.add(traffic().movableConnections(server));
    this.#leaving.push(traffic().watchForIdle(server, found));
  }

  /**
   * Gives connections that are idle or become idle to workers of a later generation.
   * @param {Ends} [ends] ends of the handoff of those workers, if it is a new one. Connections in the former handoffs are passed
   * on, since perhaps no other process takes them.
   */
  giveAway(ends) {
    const own = this.#ownHandoff();
    this.#answersForHandoffs = true;
    if (ends !== undefined) {
      const next = new (traffic().Handoff)(ends, this.Pipe);
      for (const former of this.#handoffs) former.take((handle) => next.pass(handle));
      this.#handoffs.push(next);
    }
    this.#leavingConnections?.giveAway(this.#handoffs.at(-1) ?? own);
  }

  /**
   * Serves connections until they end, and closes them with the next answer. For a worker without a successor, and for a worker
   * that its runner replaces only after its end.
   */
  keepConnections() {
    this.#leavingConnections?.keep();
    this.#announceClose();
    this.abandonHandoffs();
  }

  /** Lets this worker end before its handoffs are empty: the app stops, or a runner holds them open. */
  abandonHandoffs() {
    this.#answersForHandoffs = false;
    this.#lookIfDrained();
  }

  /** true if connections wait that this worker must take */
  get hasToTake() {
    return this.#handoffs.some(({ hasToTake }) => hasToTake);
  }

  /**
   * It will not open again. As long as one process holds the listening socket, the kernel goes on queueing connections
   * for it, also when nobody accepts them any more.
   */
  forgetGate() {
    for (const fd of this.boot.gateFds.splice(0)) closeSync(fd);
  }

  #shut() {
    this.state = 'retired';
    this.#retiredAt ??= performance.now();
    this.#ownHandoff().stop();
    this.#gate?.close();
    this.#gate = undefined;
    this.#isRelieved = this.#otherPorts === undefined;
  }

  #announceClose() {
    if (this.#server === undefined || this.#closeAnnounced) return;
    this.#closeAnnounced = true;
    const end = traffic().announceClose(this.#server, this.#sessions, this.#requestPatience);
    this.#leaving.push(() => {
      this.#closeAnnounced = false;
      end();
    });
  }

  /** @param {() => void} listener */
  whenDrained(listener) {
    const servers = this.#drainingServers();
    /** @type {NodeJS.Timeout | undefined} */
    let later;
    this.#lookIfDrained = () => {
      clearTimeout(later);
      if (!this.#isRelieved || servers.some((/** @type {any} */ { _connections }) => _connections > 0))
        return;
      if (!this.#answersForHandoffs || this.#handoffs.every(({ isEmpty }) => isEmpty)) listener();
      else later = setTimeout(() => this.#lookIfDrained(), emptyPause);
    };
    this.#leaving.push(() => clearTimeout(later));
    for (const server of servers) this.#leaving.push(traffic().whenEmpty(server, this.#lookIfDrained));
    this.#lookIfDrained();
  }

  #lookIfDrained = () => {};

  /** Servers whose connections this worker waits for: the app's own, and others that can tell when a connection ends. */
  #drainingServers() {
    const ports = this.#otherPorts?.servers.filter((server) => speaksHttp(protocolOf(server))) ?? [];
    return this.#server === undefined ? ports : [this.#server, ...ports];
  }

  #getLeavingConnections() {
    this.#leavingConnections ??= new (traffic().LeavingConnections)(() => {
      if (this.state === 'retired') this.#announceClose();
    });
    return this.#leavingConnections;
  }

  #ownHandoff() {
    const { Handoff, say } = traffic();
    const isLost = () => this.#hasLostHandoff();
    if (this.#handoffs.length === 0)
      this.#handoffs.push(new Handoff(this.boot.handoffFds, this.Pipe, isLost));
    if (isLost()) say(`cannot hand over idle connections: ${this.#lostHandoff}`);
    return /** @type {Handoff} */ (this.#handoffs[0]);
  }

  /** Returns true if the app has closed an end of the handoff, or opened something else with its descriptor. */
  #hasLostHandoff() {
    return this.#inodes === undefined || inodesOf(this.boot.handoffFds) !== this.#inodes;
  }

  get #lostHandoff() {
    const { take, give } = this.boot.handoffFds;
    return `the app has closed descriptor ${take} or ${give}, which belongs to Sluice`;
  }

  /**
   * The part of this worker in its generation, if that is the active one and there is no runner.
   * @returns {'opens' | 'replaced' | 'stopped'} `replaced`: other workers have opened in its place; `stopped`: it has no copy of
   *   the socket, as when the app stops
   */
  get part() {
    if (this.#isReplaced) return 'replaced';
    return this.state === 'retired' && this.boot.gateFds.length === 0 ? 'stopped' : 'opens';
  }

  /** Rest of `drainTimeout`, in ms. The time counts from the retirement, however many runners come and go. */
  get drainTimeLeft() {
    const retiredFor = this.#retiredAt === undefined ? 0 : performance.now() - this.#retiredAt;
    return Math.max(0, this.boot.drainTimeout - retiredFor);
  }

  /** Opens or stays open without a runner, because its generation is the active one. */
  openAlone() {
    // A worker that waits takes nothing from the handoff, which may have its own connections.
    if (this.state !== 'open') this.open(this.boot.besideOrphans && !this.#hasServed);
  }

  #orphaned() {
    this.#isOrphan = true;
    traffic().liveAlone(this);
  }
}

/**
 * @param {Ends} ends
 * @returns {string | undefined} inodes of both; undefined if one of them is closed, or is not a socket
 */
function inodesOf(ends) {
  try {
    const found = [ends.take, ends.give].map((fd) => fstatSync(fd));
    return found.every((each) => each.isSocket()) ? found.map(({ ino }) => ino).join(' ') : undefined;
  } catch {
    return undefined;
  }
}

/** Loaded when the app is ready, so that it delays neither the boot nor the switch. */
function traffic() {
  return require('./traffic.cjs');
}

module.exports = { Worker };

'use strict';

const { closeSync } = require('node:fs');
const { openChannel } = require('./channel.cjs');
const { saveCompiled } = require('./compile-cache.cjs');
const { Handoffs } = require('./handoffs.cjs');
const { createHandle, interceptListen, privatePort } = require('./listen.cjs');
const { limitPrinting } = require('./printing.cjs');
const { replacePm2 } = require('./pm2-module.cjs');
const { protocolOf, serves, speaksHttp } = require('./protocol.cjs');
const { emitShutdown, translateStopSignal } = require('./stop-signal.cjs');

/** @import { Server } from 'node:net' */
/** @import { Acceptor } from './acceptor.cjs' */
/** @import { AffinityBoot, ExecBoot, FromWorker, LoadBoot, ToWorker, WorkerBoot } from '../protocol/worker.ts' */
/** @typedef {import('./handoff.cjs').Ends} Ends */
/** @typedef {import('./listen.cjs').Listen} Listen */
/** @typedef {InstanceType<typeof import('./load-table.cjs').LoadTable>} LoadTable */
/**
 * @typedef {object} SpareSocket a copy of the app's listening socket
 * @property {() => any} open returns its handle, or an error number
 * @property {() => void} close
 */
/**
 * @typedef {object} Link connection of a worker to its runner
 * @property {(message: FromWorker) => void} post
 * @property {any} Pipe class of the handles of pipes
 * @property {SpareSocket[]} sockets each acceptor uses up one, and the first pause of an acceptor one
 * @property {Ends} ends of the handoff
 * @property {string} handoffId
 * @property {AffinityBoot | null} [affinity]
 * @property {LoadBoot | null} [load]
 * @property {number} [commandPid] see `commandPid` of Worker
 */
/**
 * @typedef {typeof import('./acceptor.cjs') & typeof import('./app-metrics.cjs') & typeof import('./arrivals.cjs') &
 *   typeof import('./connections.cjs') &
 *   typeof import('./drain.cjs') & typeof import('./health-report.cjs') & typeof import('./leave.cjs') &
 *   typeof import('./orphan.cjs') & typeof import('./response-count.cjs')} LateModules
 */

/** Interval between checks of a server that does not handle its connections yet, in ms. */
const servesPause = 20;

/** Longest time that a retired worker accepts on ports besides the app's own while other workers do so, too, in ms. */
const handOffPatience = 5000;
/**
 * Longest time that a retired worker accepts on ports besides the app's own, and waits for space in the handoff, if no other worker
 * is open, in ms.
 */
const endPatience = 200;

/**
 * A worker's view of itself, in the process of the app. The runner's view is `WorkerHandle` in
 * src/runner/generation/worker-handle.ts. The two exchange the messages of src/protocol/worker.ts.
 *
 * A worker is `booting` until the app listens, `ready` until the runner opens it, `open` while it accepts connections, and
 * `retired` from then on. If a switch fails, or the runner is gone, a retired worker may open again.
 */
class Worker {
  /** @type {'booting' | 'ready' | 'open' | 'retired'} */
  state = 'booting';
  boot;
  /** id of the handoff; the `generation` file has the id of the active generation's handoff */
  handoffId = '';
  /** pid of the process that runs the command of exec mode; undefined in other workers */
  commandPid = /** @type {number | undefined} */ (undefined);
  /** @type {SpareSocket[]} */
  #sockets = [];
  /** handle of the copy of the socket that a paused acceptor watches @type {any} */
  #watched;
  /** @type {LoadBoot | null} null if this worker accepts whatever its siblings have */
  #loadBoot = null;
  /** @type {LoadTable | undefined} */
  #loads;
  /** @type {InstanceType<typeof import('./even-out.cjs').EvenOut> | undefined} */
  #evenOut;
  /** @type {(() => void) | undefined} called when the app is ready */
  onReady;
  /** messages that wait for the connection to the runner */
  #waiting = /** @type {FromWorker[]} */ ([]);
  #post = (/** @type {FromWorker} */ message) => {
    this.#waiting.push(message);
  };
  #handlesOnlyInterrupt;
  handoffs = /** @type {InstanceType<typeof Handoffs>} */ (/** @type {unknown} */ (undefined));
  /** @type {Server | undefined} the app's server */
  server;
  #backlog = 0;
  /** true if the app has reported that it is ready: see `waitReady` */
  #hasReported = false;
  /** @type {InstanceType<typeof import('./app-metrics.cjs').AppMetrics> | undefined} */
  #metrics;
  #metricsReportedAt = Number.NEGATIVE_INFINITY;
  /** @type {NodeJS.Timeout | undefined} */
  #announceLater;
  /** true once the app has listened on its port, and the runner knows */
  #isAnnounced = false;
  /** @type {boolean | undefined} `wait` of an `open` that came before that */
  #opensLater;
  /** true if the runner is gone */
  isOrphan = false;
  #isDrained = false;
  #drained = () => {};
  /** true once this worker has read from connections; no orphan of an earlier runner answers after that */
  #hasServed = false;
  /** @type {Acceptor | undefined} */
  #acceptor;
  /** @type {InstanceType<typeof import('./arrivals.cjs').Arrivals> | undefined} */
  #arrivals;
  /** @type {InstanceType<typeof import('./other-ports.cjs').OtherPorts> | undefined} */
  #otherPorts;
  /** true if this retired worker still accepts on ports besides the app's own */
  hasOpenPorts = false;
  /** true if another worker of the same generation serves in place of this one */
  #isReplaced = false;
  /** open sessions of HTTP/2 */
  sessions = /** @type {Set<any>} */ (new Set());
  /** @type {InstanceType<typeof import('./drain.cjs').Drain> | undefined} */
  #drain;
  /** ends the treatment of warmup connections as if they came from a handoff */
  #endTakeFrom = () => {};
  /** lets this worker serve although its memory exceeds the limit, until it has grown further: see `watchMemory` */
  #tolerateMemory = () => {};
  /** ends the count of responses */
  #endCount = () => {};

  /** @param {ExecBoot} boot */
  constructor(boot) {
    this.boot = boot;
    this.#handlesOnlyInterrupt = boot.stopSignal === null ? translateStopSignal() : () => false;
  }

  /**
   * Connects this worker to its runner.
   * @param {Link} link
   */
  attach({ post, Pipe, sockets, ends, handoffId, affinity, load = null, commandPid }) {
    this.#post = post;
    this.#sockets = sockets;
    this.#loadBoot = load;
    this.handoffs = new Handoffs(ends, Pipe, (text) => lazy().log(text));
    if (affinity) this.handoffs.affinity = new (require('./affinity.cjs').Affinity)(affinity, Pipe);
    this.handoffId = handoffId;
    this.commandPid = commandPid;
    for (const message of this.#waiting.splice(0)) post(message);
    this.#announce();
  }

  /** Notes that the app has reported to be ready, or has declared metrics. @param {unknown} message of the app to its parent process */
  hear(message) {
    if (message === 'ready') {
      this.#hasReported = true;
      this.#announce();
    } else if (/** @type {any} */ (message)?.type === 'axm:monitor') {
      this.#metrics ??= new (lazy().AppMetrics)();
      this.#metrics.hear(message);
    }
  }

  /** Reports the metrics of the app that have changed, if the last report is long ago. */
  #reportMetrics() {
    const now = performance.now();
    if (this.#metrics === undefined || now - this.#metricsReportedAt < lazy().reportInterval) return;
    for (const message of this.#metrics.takeChanged()) {
      this.#metricsReportedAt = now;
      this.#post(message);
    }
  }

  /** Lives on without the runner. */
  live() {
    this.isOrphan = true;
    new (lazy().Orphan)(this).live();
  }

  /** @param {Listen} call for a port besides the app's own */
  listenBesides(call) {
    if (this.#otherPorts === undefined) {
      const { OtherPorts } = require('./other-ports.cjs');
      this.#otherPorts = new OtherPorts();
      if (this.state === 'open' || this.#opensLater !== undefined) this.#otherPorts.open();
    }
    this.#noteSessions(call.server);
    this.#otherPorts.add(call);
  }

  /** Reports to the runner that a process of an exec worker listens on a port that is not the app's own. @param {number} port */
  noteOtherPort(port) {
    this.#post({ type: 'besides', port });
  }

  noteForks() {
    this.#post({ type: 'forked' });
  }

  /** @param {Listen} call the app's own */
  listen({ server, backlog }) {
    const reopen = this.state === 'open';
    this.#acceptor?.close();
    this.#acceptor = undefined;
    if (server !== this.server) this.#noteSessions(server);
    this.server = server;
    this.#backlog = backlog;
    if (reopen) this.open();
    if (server.listening) this.#announce();
    else server.once('listening', () => this.#announce());
  }

  /** @param {Server} server */
  #noteSessions(server) {
    server.on('session', (session) => {
      this.#drain?.add(session);
      this.sessions.add(session);
      session.once('close', () => this.sessions.delete(session));
    });
  }

  /** Reports to the runner that the app is ready; again if the app listens again, because its private port has changed. */
  #announce() {
    const server = this.server;
    clearTimeout(this.#announceLater);
    if (!server?.listening || this.handoffs === undefined || (this.boot.waitReady && !this.#hasReported))
      return;
    // A server that only tests if the port is free would never read the request of a health check.
    if (!serves(server)) {
      this.#announceLater = setTimeout(() => this.#announce(), servesPause).unref();
      return;
    }
    const first = !this.#isAnnounced;
    const { fault } = this.handoffs;
    // Idle connections of the release before would wait in the handoff for ever.
    if (first && fault !== undefined) {
      lazy().log(`ends: ${fault}`);
      process.exit(1);
    }
    this.#isAnnounced = true;
    if (this.state === 'booting') this.state = 'ready';
    this.#post({
      type: 'ready',
      port: privatePort(server),
      protocol: protocolOf(server),
      listens: /** @type {any} */ (server.address()).port,
      onlyInterrupt: this.#handlesOnlyInterrupt(),
    });
    if (!first) return;
    if (this.#opensLater !== undefined) this.open(this.#opensLater);
    this.onReady?.();
    setImmediate(() => this.#reportHealth());
  }

  #reportHealth() {
    this.#prepare();
    const { sendHeartbeats, watchMemory } = lazy();
    const { beatInterval, maxMemory } = this.boot;
    const server = () => /** @type {Server} */ (this.server);
    sendHeartbeats(beatInterval, server, (beat) => {
      this.#post(beat);
      this.#reportMetrics();
      this.#openEvenOut()?.startIfUneven();
    });
    if (maxMemory === null) return;
    this.#tolerateMemory = watchMemory(maxMemory, {
      server,
      exceeded: (bytes) => this.#post({ type: 'memoryExceeded', bytes }),
      // An orphan keeps serving, because no runner would replace it.
      excessive: () => this.state === 'open' && !this.isOrphan && this.#retire(),
    });
    if (this.state === 'open') this.#tolerateMemory();
  }

  /** Creates the objects that a switch needs, so that the switch does not wait for them. */
  #prepare() {
    this.#openLoads();
    this.handoffs.own.prepare();
    this.#arrivals ??= this.#openArrivals();
    this.#drain ??= new (lazy().Drain)(this);
    const server = /** @type {any} */ (this.server);
    if (this.state === 'ready' && server._handle !== null && protocolOf(server) === 'http')
      this.#endTakeFrom = this.#arrivals.takeFrom(server._handle);
  }

  /** @param {ToWorker} message */
  receive(message) {
    switch (message.type) {
      case 'open':
        return this.open(message.wait, () => this.#post({ type: 'opened' }));
      case 'serve':
        return this.serve();
      case 'retire':
        if (message.last) return this.#retireForGood();
        // The worker may have retired by itself: see `#reportHealth`.
        return this.state === 'retired' ? undefined : this.#retire();
      case 'handOff':
        if (this.state === 'retired') {
          // A rollback may make its generation the active one again.
          this.#isReplaced ||= message.beforeSuccessor || !message.inboxes;
          this.handOff(undefined, message);
          // The runner keeps the handoff, and with it the connections.
          if (message.beforeSuccessor) this.#endBeforeSuccessor();
        }
        return this.#shutOtherPorts(message.beforeSuccessor ? endPatience : handOffPatience);
      case 'evenOut':
        return this.#openEvenOut()?.start();
      case 'count':
        return this.#count(message.on);
      case 'cut':
        return this.state === 'retired' ? lazy().cutConnections(this.servers, this.sessions) : undefined;
      case 'leavePort':
        return this.state === 'retired' ? this.closeSpareSockets() : undefined;
      case 'save':
        saveCompiled();
        return this.#post({ type: 'saved' });
      case 'reportInFlight':
        return this.#reportInFlight();
      case 'shutdown':
        return emitShutdown();
    }
  }

  /** Waits for no other worker to take the connections in the handoff, and closes those that it has no space for. */
  #endBeforeSuccessor() {
    this.abandonHandoffs({ inboxes: false });
    const drop = () => {
      this.handoffs.latest.drop();
      this.drain.check();
    };
    setTimeout(drop, endPatience).unref();
  }

  #reportInFlight() {
    const { named, requests, connections } = this.inFlight;
    for (const request of named) this.#post({ type: 'request', ...request });
    this.#post({ type: 'inFlight', requests, connections });
  }

  /** @param {boolean} on */
  #count(on) {
    this.#endCount();
    const { server } = this;
    this.#endCount =
      on && server ? lazy().countResponses(server, (message) => this.#post(message)) : () => {};
  }

  /** Requests and connections that are not finished. */
  get inFlight() {
    return lazy().inFlight(this.server);
  }

  /**
   * @param {boolean} wait true if nothing may be read from connections before `serve`
   * @param {() => void} [opened] called as soon as this worker accepts connections, or knows that it cannot yet
   */
  open(wait = false, opened = () => undefined) {
    const server = this.server;
    if (server === undefined || !this.#isAnnounced) {
      this.#opensLater = wait;
      // A process of an exec worker may have other ports only, and must confirm the next `retire`, too.
      this.#drain?.stop();
      if (this.state === 'retired') this.state = 'booting';
      this.#otherPorts?.open();
      return opened();
    }
    this.#opensLater = undefined;
    // Without a copy of the socket, this worker cannot open. It finishes its requests and ends, and the runner replaces it.
    if (this.#sockets.length === 0) {
      lazy().leave(this, () => this.keepConnections());
      return opened();
    }
    this.#endTakeFrom();
    this.#drain?.stop();
    this.handoffs.mustBeEmpty = true;
    this.#isReplaced = false;
    this.state = 'open';
    this.#tolerateMemory();
    this.#otherPorts?.open();
    if (server.listening) this.#openAcceptor(server);
    if (wait) this.#acceptor?.wait();
    opened();
    if (!wait) this.#takeConnections();
  }

  /** Serves connections that were accepted since `open` with `wait`, and later ones. */
  serve() {
    if (this.#opensLater !== undefined) this.#opensLater = false;
    if (this.state !== 'open') return;
    this.#acceptor?.serve();
    this.#takeConnections();
  }

  /** @param {Server} server */
  #openAcceptor(server) {
    const handle = this.#sockets.shift()?.open();
    const { affinity } = this.handoffs;
    const route = affinity && ((/** @type {any} */ client) => affinity.route(client));
    const arriving = () => this.#arrivals?.size ?? 0;
    const options = { route, table: this.#openLoads(), openCopy: () => this.#watch(), arriving };
    const acceptor =
      typeof handle === 'number' ? handle : lazy().acceptFor(server, handle, this.#backlog, options);
    if (typeof acceptor !== 'number') this.#acceptor = acceptor;
    else server.emit('error', new Error(`the port of the app cannot be opened: error ${acceptor}`));
  }

  /** Returns the loads of the siblings, if there are any. Loads all modules for them: see `lazy`. */
  #openLoads() {
    if (this.#loadBoot === null) return undefined;
    require('./even-load.cjs');
    require('./even-out.cjs');
    this.#loads ??= new (require('./load-table.cjs').LoadTable)(this.#loadBoot);
    return this.#loads;
  }

  /** Returns the handle that a paused acceptor watches; undefined if the worker needs its last copy of the socket to reopen. */
  #watch() {
    if (this.#watched === undefined && this.#sockets.length > 1) {
      const handle = this.#sockets.pop()?.open();
      if (typeof handle !== 'number') this.#watched = handle;
    }
    return this.#watched;
  }

  #takeConnections() {
    this.#hasServed = true;
    const { affinity, own } = this.handoffs;
    const server = /** @type {Server} */ (this.server);
    this.#arrivals ??= this.#openArrivals();
    // A server of another protocol may be the first to send.
    const taken = (/** @type {any} */ handle) => {
      if (protocolOf(server) !== 'http') return this.#taken(handle);
      this.#arrivals?.add(handle);
      this.#evenOut?.taken();
    };
    own.take((handle) => affinity?.route(handle) || taken(handle));
    affinity?.take(taken);
  }

  #openArrivals() {
    const give = (/** @type {any} */ handle, /** @type {Buffer | undefined} */ received) =>
      this.#taken(handle, received);
    return new (lazy().Arrivals)(give, () => this.#acceptor?.adopted());
  }

  /** Returns what evens out idle connections; undefined if this worker has no siblings, or cannot move connections now. */
  #openEvenOut() {
    const table = this.#loads;
    if (table === undefined || !this.#hasServed || this.handoffs.fault !== undefined) return undefined;
    const load = () => {
      const { server, state } = this;
      const isMovable = state === 'open' && server?.listening && protocolOf(server) === 'http';
      return isMovable ? this.#acceptor?.load() : undefined;
    };
    if (load() === undefined) return undefined;
    this.#evenOut ??= new (require('./even-out.cjs').EvenOut)({
      ...{ table, load, handoff: this.handoffs.own },
      take: () => this.#takeConnections(),
      idle: () => lazy().movableConnections(this.server),
      give: (idle) => this.drain.give(idle),
    });
    return this.#evenOut;
  }

  /** @param {any} handle @param {Buffer} [received] bytes that were read from the connection */
  #taken(handle, received) {
    const server = /** @type {Server} */ (this.server);
    if (server.listening || received !== undefined) {
      lazy().adopt(server, handle, received);
      return this.#acceptor?.adopted();
    }
    // A connection to the private port must not reach other workers.
    if (this.state === 'ready') return handle.close();
    // The app has closed its server, and may listen again.
    const { own, affinity } = this.handoffs;
    own.stop();
    affinity?.stop();
    server.once('listening', () => this.state === 'open' && this.#takeConnections());
    own.pass(handle);
  }

  /**
   * Accepts no new connection from this instant on, and no new request on an idle one. Idle connections stay here, unread, until
   * other workers have opened: moving them earlier would delay these workers. Connections with TLS or HTTP/2 cannot move: they
   * close with the next answer.
   */
  #retire() {
    this.#park(() => this.#post({ type: 'retired' }));
    this.drain.whenDrained(() => this.#post({ type: 'drained' }));
  }

  /** @param {() => void} [retired] called as soon as this worker accepts no new request */
  #park(retired = () => undefined) {
    this.#shut();
    const { server } = this;
    const isMovable = server !== undefined && protocolOf(server) === 'http';
    const idle = isMovable ? lazy().movableConnections(server) : [];
    for (const socket of idle) /** @type {any} */ (socket)._handle.readStop();
    retired();
    if (isMovable) this.drain.park(server, idle);
    else this.drain.announceClose();
  }

  /** Retires because the app stops. Connections that wait in the kernel are served first. */
  #retireForGood() {
    this.closeSpareSockets();
    lazy().whenQuiet(this, () => {
      this.handoffs.abandon();
      this.#shut();
      this.#post({ type: 'retired' });
      this.drain.closeAll();
      this.#shutOtherPorts(endPatience);
      this.drain.whenDrained(() => this.#post({ type: 'drained' }));
    });
  }

  /**
   * Accepts no new requests from this instant on, for an orphan. Reads nothing from connections that are idle, or become idle,
   * until `handOff` moves them, or `keepConnections` lets this worker serve them.
   */
  retireAlone() {
    this.closeSpareSockets();
    this.#park();
    this.#shutOtherPorts(endPatience);
  }

  #shut() {
    this.state = 'retired';
    this.#opensLater = undefined;
    this.drain.begin();
    this.#evenOut?.stop();
    this.handoffs.own.stop();
    this.handoffs.affinity?.stop();
    this.#arrivals?.flush();
    this.#acceptor?.close();
    this.#acceptor = undefined;
    this.hasOpenPorts = this.#otherPorts !== undefined;
  }

  /**
   * Shuts the ports besides the app's own: from now on other workers have them, or no worker.
   * @param {number} patience
   */
  #shutOtherPorts(patience) {
    const ports = this.#otherPorts;
    if (this.state !== 'retired' || !this.hasOpenPorts || ports === undefined) return;
    ports.shut(patience, () => {
      this.hasOpenPorts = false;
      for (const server of this.#otherHttpServers()) this.drain.announceCloseOf(server);
      this.drain.check();
    });
  }

  /**
   * Moves connections that are idle or become idle to workers that have opened.
   * @param {Ends} [ends] ends of the handoff of those workers, if it is a new one
   * @param {object} [options]
   * @param {boolean} [options.inboxes] false if another worker takes from the inbox of this slot
   */
  handOff(ends, { inboxes = true } = {}) {
    const { handoffs } = this;
    handoffs.mustBeEmpty = true;
    if (ends !== undefined) handoffs.add(ends);
    if (handoffs.affinity) handoffs.affinity.mustBeEmpty = inboxes;
    if (inboxes) handoffs.affinity?.passTo(handoffs.latest);
    this.drain.handOff();
  }

  /**
   * Serves connections until they end, and closes them with the next answer. For a worker without a successor, and for a worker
   * that its runner replaces only after its end.
   */
  keepConnections() {
    this.drain.keepConnections();
    this.abandonHandoffs();
  }

  /**
   * Lets this worker end before its handoffs are empty: the app stops, or a runner has them open.
   * @param {{ inboxes?: boolean }} [options] `inboxes`: false if this worker still has to empty them
   */
  abandonHandoffs(options) {
    this.handoffs.abandon(options);
    this.drain.check();
  }

  /**
   * Closes the spare copies of the listening socket: this worker will not open again. As long as one process has the
   * socket, the kernel queues connections for it, even if no process accepts them.
   */
  closeSpareSockets() {
    this.#acceptor?.acceptAll();
    this.#evenOut?.finish();
    this.#watched?.close();
    this.#watched = undefined;
    for (const socket of this.#sockets.splice(0)) socket.close();
  }

  get drain() {
    this.#drain ??= new (lazy().Drain)(this);
    return this.#drain;
  }

  /** All servers whose connections this worker waits for. */
  get servers() {
    return [...(this.server === undefined ? [] : [this.server]), ...this.#otherHttpServers()];
  }

  /** Returns the other servers of the app whose connections this worker waits for: others do not know when one is idle. */
  #otherHttpServers() {
    return this.#otherPorts?.servers.filter((server) => speaksHttp(protocolOf(server))) ?? [];
  }

  /**
   * The role of this worker in its generation, if that is the active one and there is no runner.
   * @returns {'opens' | 'replaced' | 'stopped'} `replaced`: others of its generation serve in its place; `stopped`: it has no copy of
   *   the socket, as when the app stops
   */
  get role() {
    if (this.#isReplaced) return 'replaced';
    return this.state === 'retired' && this.#sockets.length === 0 ? 'stopped' : 'opens';
  }

  /** Opens or stays open without a runner, because its generation is the active one. */
  openAlone() {
    // A worker that has served opens without waiting. While it waited, it would take nothing from the handoff, which may have
    // connections of its generation.
    if (this.state !== 'open') this.open(this.boot.besideOrphans && !this.#hasServed);
  }

  /** Notes that this process of an exec worker has nothing left in flight, or has cut it. */
  noteDrained() {
    this.#isDrained = true;
    this.#drained();
  }

  /** @param {() => void} listener called once this process of an exec worker is drained; replaces the former listener */
  onDrained(listener) {
    this.#drained = listener;
    if (this.#isDrained) listener();
  }
}

/**
 * Starts the worker of this process, which the runner has started.
 * @param {WorkerBoot} boot
 */
function startWorker(boot) {
  limitPrinting(boot.overflow);
  replacePm2();
  const worker = new Worker(boot);
  const { post, Pipe } = openChannel(boot.channelFd, {
    message: (message) => worker.receive(message),
    appMessage: (message) => worker.hear(message),
    lost: () => worker.live(),
  });
  worker.attach({
    ...{ post, Pipe, ends: boot.handoffFds, handoffId: boot.handoffId, affinity: boot.affinity },
    load: boot.load,
    sockets: boot.listeningFds.map((fd) => ({
      open: () => createHandle(null, null, null, fd),
      close: () => closeSync(fd),
    })),
  });
  interceptListen(boot, {
    chosen: (call) => worker.listen(call),
    other: (call) => worker.listenBesides(call),
    forked: () => worker.noteForks(),
  });
}

/**
 * Loads what a worker needs once the app is ready, so that it delays neither the start nor the switch. Loads all of it at once:
 * a worker may outlive the version of Sluice that started it, and its files.
 */
function lazy() {
  loaded ??= {
    ...require('./acceptor.cjs'),
    ...require('./app-metrics.cjs'),
    ...require('./arrivals.cjs'),
    ...require('./connections.cjs'),
    ...require('./drain.cjs'),
    ...require('./health-report.cjs'),
    ...require('./leave.cjs'),
    ...require('./orphan.cjs'),
    ...require('./response-count.cjs'),
  };
  return loaded;
}

/** @type {LateModules | undefined} */
let loaded;

module.exports = { Worker, startWorker };

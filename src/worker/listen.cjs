'use strict';

const net = require('node:net');
const { protocolOf, speaksHttp } = require('./kinds.cjs');

/** @import { Server } from 'node:net' */
/** @typedef {{ port: number, host: string | undefined, backlog: number | undefined }} Address */
/** @typedef {{ server: Server, address: Address, rank: number }} Listen */

/** How long the app may go on opening ports until the best one so far is taken for its own, in ms. */
const settleTime = 1000;

const rank = /** @type {const} */ ({ assigned: 3, configured: 2, http: 1, tcp: 0 });

const listen = net.Server.prototype.listen;

/**
 * Intercepts the app's `listen`. Each call for a TCP port is absorbed: the app believes that it listens there, while
 * its server really listens on a private loopback port, where this one worker can be asked. One of the calls is
 * *the app's*: the one for PORT, else for the configured port, else the first HTTP server, else the first of all. Its
 * connections come from the gate. All others get their port for real, shared with the app's other workers.
 *
 * @param {{ port: number, codePort: number | null }} wanted
 * @param {object} on
 * @param {(chosen: Listen) => void} on.chosen told again when a better one comes later
 * @param {(aside: Listen) => void} on.aside a listen that is not the app's
 */
function interceptListen(wanted, on) {
  /** @type {Listen[]} */
  const undecided = [];
  /** @type {Listen | undefined} */
  let chosen;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {WeakSet<Server>} */
  const listened = new WeakSet();

  net.Server.prototype.listen = function listenBehindTheGate(/** @type {any[]} */ ...args) {
    const address = tcpAddress(args);
    if (address === undefined) return listen.apply(this, /** @type {any} */ (args));
    const callback = args.at(-1);
    if (typeof callback === 'function') this.once('listening', callback);
    absorb(this, address);
    consider({ server: this, address, rank: rankOf(this, address.port) });
    return this;
  };

  /** @param {Server} server @param {number} port */
  function rankOf(server, port) {
    if (port === wanted.port) return rank.assigned;
    if (port === wanted.codePort) return rank.configured;
    return speaksHttp(protocolOf(server)) ? rank.http : rank.tcp;
  }

  /** @param {Listen} candidate */
  function consider(candidate) {
    if (chosen !== undefined) {
      if (candidate.address.port === chosen.address.port) {
        // The same server again, or another in the place of one that was closed: tools that look for a free port
        // listen on it and close before the app does.
        if (candidate.server === chosen.server || hasClosed(chosen.server)) choose(candidate);
        return;
      }
      if (candidate.rank <= chosen.rank || candidate.rank < rank.configured) return on.aside(candidate);
      const former = chosen;
      choose(candidate);
      return on.aside(former);
    }
    undecided.push(candidate);
    if (candidate.rank === rank.assigned) return decide();
    clearTimeout(timer);
    timer = setTimeout(decide, settleTime);
  }

  function decide() {
    clearTimeout(timer);
    const best = Math.max(...undecided.map((candidate) => candidate.rank));
    const own = /** @type {Listen} */ (undecided.find((candidate) => candidate.rank === best));
    choose(own);
    for (const { server, ...rest } of undecided.splice(0)) {
      if (rest.address.port !== own.address.port) on.aside({ server, ...rest });
    }
  }

  /** @param {Listen} own */
  function choose(own) {
    chosen = own;
    own.server.once('listening', () => listened.add(own.server));
    on.chosen(own);
  }

  /** @param {Server} server */
  function hasClosed(server) {
    return listened.has(server) && !server.listening;
  }
}

/**
 * Makes the server listen on a private port while it says that it listens where it was asked to.
 * @param {Server} server
 * @param {Address} address
 */
function absorb(server, { port, host }) {
  listen.call(server, { port: 0, host: '127.0.0.1' });
  const address = host === undefined || net.isIP(host) === 0 ? '::' : host;
  const believed = { address, family: net.isIP(address) === 6 ? 'IPv6' : 'IPv4', port };
  server.address = () => (server.listening ? believed : null);
}

/**
 * The real port of an absorbed server.
 * @param {Server} server
 */
function privatePort(server) {
  const address = /** @type {import('node:net').AddressInfo} */ (net.Server.prototype.address.call(server));
  return address.port;
}

/**
 * The TCP port that a call of `listen` asks for, or undefined where it asks for anything else: a unix socket, a
 * handle, any free port.
 * @param {any[]} args
 * @returns {Address | undefined}
 */
function tcpAddress(args) {
  const [first, second, third] = args;
  const given =
    typeof first === 'object' && first !== null ? first : { port: first, host: second, backlog: third };
  if (given._handle || given.handle || given.fd !== undefined || given.path !== undefined) return undefined;
  const port = Number(given.port ?? 0);
  if (!Number.isInteger(port) || port <= 0 || port > 65535) return undefined;
  const backlog = [given.backlog, second].find((value) => typeof value === 'number');
  return { port, host: typeof given.host === 'string' ? given.host : undefined, backlog };
}

module.exports = { interceptListen, listen, privatePort };

'use strict';

/** @import { Server } from 'node:net' */
/** @import { AppProtocol } from '../protocol/worker.ts' */

/**
 * Returns the protocol of a server, by its methods: its class would load http, tls and http2 into apps that use none of them.
 * @param {Server} server
 * @returns {AppProtocol}
 */
function protocolOf(server) {
  const secure = 'setSecureContext' in server;
  if ('updateSettings' in server) return secure ? 'http2s' : 'http2';
  if ('closeIdleConnections' in server) return secure ? 'https' : 'http';
  return secure ? 'tls' : 'tcp';
}

/** @param {AppProtocol} protocol */
function speaksHttp(protocol) {
  return protocol !== 'tcp' && protocol !== 'tls';
}

/**
 * Returns true if a server handles its connections.
 * @param {Server} server
 */
function serves(server) {
  return server.listenerCount(protocolOf(server) === 'tls' ? 'secureConnection' : 'connection') > 0;
}

module.exports = { protocolOf, serves, speaksHttp };

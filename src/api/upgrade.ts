import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { AppError, systemCode } from '../errors/app-error.ts';
import { http } from '../system/process/footprint.ts';
import type { ApiContext } from './context.ts';

/** Connection of a request that asks for another protocol. */
interface Upgrade {
  socket: Socket;
  /** bytes after the head of the request */
  head: Buffer;
  /** separates the socket from the response */
  detach(): void;
}

const upgrades = new WeakMap<IncomingMessage, Upgrade>();

/** Largest message of a WebSocket, in bytes. */
const maxMessage = 128 * 1024;

/** Path of the only call that needs a WebSocket. */
const path = /^\/v1\/apps\/[^/?]+\/run(\?|$)/;

/**
 * Returns true if a request may begin a WebSocket. The server answers other requests without an upgrade: after an upgrade, Node.js
 * neither reads the socket nor reports its end, so a long answer would not notice that its client has gone. A request with a body
 * gets no upgrade, because Node.js would pass a stream instead of the socket.
 */
export function asksForWebSocket({ method, url, headers }: IncomingMessage): boolean {
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  return (
    method === 'GET' && path.test(url ?? '') && headers.upgrade?.toLowerCase() === 'websocket' && !hasBody
  );
}

/**
 * Returns a listener for requests that ask for another protocol. They are routed, checked and logged like all requests, and each is
 * answered, unless its route calls `acceptWebSocket`.
 */
export function upgradeListener(
  listener: RequestListener,
): (request: IncomingMessage, stream: Duplex, head: Buffer) => void {
  return (request, _stream, head) => {
    const { socket } = request;
    socket.on('error', () => undefined);
    if (socket.destroyed) return;
    const response = new http.ServerResponse(request);
    response.shouldKeepAlive = false;
    if (!assignSocket(response, socket)) return;
    response.once('finish', () => socket.destroySoon());
    upgrades.set(request, { socket, head, detach: () => response.detachSocket(socket) });
    listener(request, response);
  };
}

/**
 * Gives a socket to a response. Disconnects the client and returns false if the socket has an unfinished response, which no listener
 * knows: Node.js itself answers invalid requests, such as one without a Host.
 */
function assignSocket(response: ServerResponse, socket: Socket): boolean {
  try {
    response.assignSocket(socket);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'ERR_HTTP_SOCKET_ASSIGNED') throw error;
    socket.destroy();
    return false;
  }
}

/** @throws AppError `bad_request` if the request does not ask for a WebSocket */
export function assertWebSocket({ req }: ApiContext): void {
  if (upgrades.has(req)) return;
  throw new AppError('bad_request', 'this call needs a WebSocket', {
    hint: 'See docs/api.md for its messages.',
  });
}

/**
 * Answers a request with a WebSocket.
 * @throws AppError `bad_request` if the request does not ask for one; it has none if its headers are invalid and were answered
 */
export async function acceptWebSocket(ctx: ApiContext): Promise<WebSocket | undefined> {
  assertWebSocket(ctx);
  const { socket, head, detach } = upgrades.get(ctx.req) as Upgrade;
  // Loaded here to save memory: most servers have no such client.
  const { WebSocketServer } = await import('ws');
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: maxMessage,
  });
  ctx.respond = false;
  detach();
  return new Promise((resolve) => {
    socket.once('close', () => resolve(undefined));
    server.handleUpgrade(ctx.req, socket, head, resolve);
  });
}

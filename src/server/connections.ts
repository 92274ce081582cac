import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { patientTimer } from '../system/concurrency/deadline.ts';

/** Time limits of a connection, in ms. */
export interface ConnectionLimits {
  /**
   * Time from the end of an answer to the head of the next request, including the rest of the answered request's body. Node.js
   * itself disconnects a client that sends nothing, but not a client that slowly sends a body, or blank lines between requests.
   */
  next: number;
  /**
   * Limit without traffic while one side does not read. If a second request is queued, `next` applies instead: the first answer
   * may last as long as its client listens.
   */
  silence: number;
}

/** Limits of the API. `silence` is long for people: a pager may show a page of a log for some minutes before it reads on. */
export const connectionLimits: ConnectionLimits = { next: 20_000, silence: 15 * 60_000 };

/** Limit of unanswered requests of a connection: each takes memory. */
const maxUnanswered = 100;

/** Number of unanswered requests of a connection, and the time limit of a connection that has none. */
interface Use {
  unanswered: number;
  limit?: NodeJS.Timeout;
}

/**
 * Disconnects clients that keep a connection open without using it. Must be called before the server listens. Other limits apply
 * elsewhere: Node's `headersTimeout` to the head of a request, and the readers' own limits to bodies. The handler of a request
 * decides how long its answer may take; it sees a `close` of the response if the client has gone.
 */
export function limitConnections(server: Server, { next, silence }: ConnectionLimits): void {
  const uses = new WeakMap<Socket, Use>();
  /** Starts the limit. A request that has arrived while the event loop stood still is in time. */
  const startLimit = (socket: Socket, use: Use) => {
    const limit = patientTimer(() => {
      if (use.limit === limit && use.unanswered === 0) socket.destroy();
    }, next);
    use.limit = limit;
  };

  server.on('connection', (socket) => {
    const use: Use = { unanswered: 0 };
    uses.set(socket, use);
    startLimit(socket, use);
    socket.once('close', () => clearTimeout(use.limit));
  });
  server.prependListener('request', ({ socket }, response) => {
    const use = uses.get(socket) as Use;
    clearTimeout(use.limit);
    use.unanswered += 1;
    if (use.unanswered === 2) socket.setTimeout(next);
    if (use.unanswered > maxUnanswered) socket.destroy();
    response.once('close', () => {
      use.unanswered -= 1;
      if (socket.destroyed) return;
      if (use.unanswered === 0) startLimit(socket, use);
      if (use.unanswered === 1) socket.setTimeout(silence);
    });
  });

  // An upgraded connection has limits of its own. Answers to earlier requests would get lost.
  server.prependListener('upgrade', ({ socket }) => {
    const use = uses.get(socket) as Use;
    clearTimeout(use.limit);
    if (use.unanswered > 0) socket.destroy();
  });

  // Each byte restarts this timeout, even a byte of an answer on its way. Between two requests Node.js sets its own timeout.
  server.timeout = silence;
  server.on('timeout', (socket) => {
    const isAtWork = (uses.get(socket)?.unanswered ?? 0) > 0;
    if (isAtWork && !socket.isPaused() && socket.writableLength === 0)
      socket.setTimeout(socket.timeout ?? silence);
    else socket.destroy();
  });
}

import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { patientTimer } from '../system/deadline.ts';

/** Time limits of a connection, in ms. */
export interface ConnectionLimits {
  /**
   * From the end of an answer to the head of the next request, the rest of the answered request's body included. Node.js
   * alone disconnects a client that sends nothing, but not one that trickles a body, or blank lines between two requests.
   */
  next: number;
  /**
   * Without a byte in either direction while the client leaves an answer unread, or we leave unread what the client sends: a
   * connection that is not read from does not show that its client has gone. What waits behind another request gets no more
   * time than `next`: the other one may be answered for as long as its client listens.
   */
  silence: number;
}

/** Generous to people: somebody may look at a page of a log for some minutes before the pager reads on. */
export const connectionLimits: ConnectionLimits = { next: 20_000, silence: 15 * 60_000 };

/** Requests of a connection that are not answered, and the time limit of a connection that has none. */
interface Use {
  unanswered: number;
  limit?: NodeJS.Timeout;
}

/**
 * Disconnects clients that keep a connection open without using it. Call it before the server listens. The limit of a head
 * is Node's own `headersTimeout`; the limits of bodies are those of their readers; and how long an answer may take is the
 * matter of its handler, which a `close` of the response tells that the client has gone.
 */
export function limitConnections(server: Server, { next, silence }: ConnectionLimits): void {
  const uses = new WeakMap<Socket, Use>();
  /** A request that has arrived while the event loop stood still is in time. */
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
    response.once('close', () => {
      use.unanswered -= 1;
      if (socket.destroyed) return;
      if (use.unanswered === 0) startLimit(socket, use);
      if (use.unanswered === 1) socket.setTimeout(silence);
    });
  });

  // Node.js counts each byte, also of an answer that is on its way. Between two requests Node.js sets its own timeout.
  server.timeout = silence;
  server.on('timeout', (socket) => {
    const isAtWork = (uses.get(socket)?.unanswered ?? 0) > 0;
    if (isAtWork && !socket.isPaused() && socket.writableLength === 0)
      socket.setTimeout(socket.timeout ?? silence);
    else socket.destroy();
  });
}

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../support/random.ts';

/** Instants of disconnects and pauses between writes, in ms. */
const instants = [0, 1, 2, 5, 10, 50];

/** How long a client that has sent all waits for the server to disconnect, in ms. */
const patience = 250;

const endings = ['FIN', 'RST', 'half-close', 'none'] as const;

/** One client: what it sends, with pauses, and how it ends. */
export interface Plan {
  writes: { bytes: Buffer; pause: number }[];
  ending: (typeof endings)[number];
}

/**
 * Cuts requests into writes anywhere, and mostly leaves some of them out: a disconnect between any two.
 * @param round chooses how the client ends, and how long after its last write: all combinations in so many rounds
 */
export function planClient(random: Random, parts: Buffer[], round: number): Plan {
  const all = parts.flatMap((part) => cut(random, part));
  const sent = random.once(3) ? all.length : random.below(all.length + 1);
  const writes = all.slice(0, sent).map((bytes) => ({ bytes, pause: random.pick(instants) }));
  const last = writes.at(-1);
  if (last !== undefined) last.pause = instants[Math.floor(round / endings.length) % instants.length] ?? 0;
  return { writes, ending: endings[round % endings.length] ?? 'none' };
}

function cut(random: Random, bytes: Buffer): Buffer[] {
  const places = Array.from({ length: random.below(4) }, () => random.below(bytes.length + 1));
  const sorted = [0, ...places.sort((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
}

/**
 * Carries a plan out.
 * @param raw the TCP or unix socket below `socket`, which may speak TLS
 * @returns what the server answered
 */
export async function carryOut(
  { writes, ending }: Plan,
  socket: Socket,
  raw: Socket = socket,
): Promise<Buffer> {
  const answer: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => answer.push(chunk));
  socket.on('error', () => undefined);
  raw.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  for (const { bytes, pause } of writes) {
    if (socket.destroyed) break;
    socket.write(bytes);
    if (pause > 0) await Promise.race([sleep(pause), closed]);
  }
  // There is no RST on a unix socket, which has no address.
  if (ending === 'RST' && raw.remoteAddress !== undefined) raw.resetAndDestroy();
  else if (ending === 'RST' || ending === 'FIN') raw.destroy();
  else if (ending === 'half-close') socket.end();
  await Promise.race([sleep(patience), closed]);
  raw.destroy();
  socket.destroy();
  await closed;
  return Buffer.concat(answer);
}

/** @returns whether the server, or nginx before it, has taken the connection */
export async function connected(socket: Socket, event = 'connect'): Promise<boolean> {
  return once(socket, event).then(
    () => true,
    () => false,
  );
}

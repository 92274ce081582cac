import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../support/random.ts';

/** Instants of disconnects and pauses between writes, in ms. */
const instants = [0, 1, 2, 5, 10, 50];

/** Time that a client waits for the server to disconnect after it has sent everything, in ms. */
const patience = 250;

const endings = ['FIN', 'RST', 'half-close', 'none'] as const;

/** Plan of a client: the writes, the pauses, and the way in which it disconnects. */
export interface Plan {
  writes: { bytes: Buffer; pause: number }[];
  ending: (typeof endings)[number];
}

/**
 * Cuts requests into writes at random positions, and mostly leaves out the last writes, to disconnect between any two.
 * @param round chooses the way to disconnect and the pause before it; consecutive rounds go through all combinations
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
 * Carries out a plan.
 * @param raw the TCP or unix socket below `socket`, which may speak TLS
 * @returns the answer of the server
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
  // Unix sockets have no RST.
  if (ending === 'RST' && raw.remoteAddress !== undefined) raw.resetAndDestroy();
  else if (ending === 'RST' || ending === 'FIN') raw.destroy();
  else if (ending === 'half-close') socket.end();
  await Promise.race([sleep(patience), closed]);
  raw.destroy();
  socket.destroy();
  await closed;
  return Buffer.concat(answer);
}

/** @returns true if the server, or nginx in front of it, has accepted the connection */
export async function connected(socket: Socket, event = 'connect'): Promise<boolean> {
  return once(socket, event).then(
    () => true,
    () => false,
  );
}

import { setTimeout as pause } from 'node:timers/promises';
import { Client } from './client.ts';

/** Connections per worker: pid to count. */
export type Counts = Map<number, number>;

const upgrade =
  'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';

/** Opens connections at once, with a request on each. @returns where they are 1 s after the last answer */
export async function burst(port: number, connections: number): Promise<Counts> {
  const clients = Array.from({ length: connections }, () => new Client(port));
  try {
    await Promise.all(clients.map((client) => client.get()));
    await pause(1000);
    return counted(await Promise.all(clients.map((client) => client.get())));
  } finally {
    for (const client of clients) client.close();
  }
}

/** Opens WebSockets that stay, so many per second. @returns their workers */
export async function webSockets(port: number, connections: number, rate: number): Promise<Counts> {
  const clients: Client[] = [];
  try {
    const start = performance.now();
    const answers: Promise<{ pid: number }>[] = [];
    while (clients.length < connections) {
      await pause(Math.max(0, start + (clients.length * 1000) / rate - performance.now()));
      const client = new Client(port, upgrade);
      clients.push(client);
      answers.push(client.get());
    }
    return counted(await Promise.all(answers));
  } finally {
    for (const client of clients) client.close();
  }
}

function counted(answers: { pid: number }[]): Counts {
  const counts: Counts = new Map();
  for (const { pid } of answers) counts.set(pid, (counts.get(pid) ?? 0) + 1);
  return counts;
}

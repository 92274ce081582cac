import { once } from 'node:events';
import { createServer, type ListenOptions, type Server } from 'node:net';

/** Ports below those that the system gives out, in ranges: so many, of so many each. */
const ranges = { count: 500, size: 40 };

/**
 * The first of a range of ports that nobody else has for as long as this process lives: test files run at the same time,
 * and more than one run may. The one before it is held, to say so.
 */
export async function firstPort(): Promise<number> {
  for (let range = process.pid; ; range += 1) {
    const port = 10_000 + (range % ranges.count) * ranges.size;
    const guard = await listening({ port, host: '127.0.0.1', exclusive: true });
    if (guard === undefined) continue;
    guard.unref();
    return port + 1;
  }
}

let own: { next: number; end: number } | undefined;

/**
 * A port that is free now, on all addresses, and stays so: what the system gives out may be given to another process
 * before it is used, but this one is of a range of our own.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    if (own === undefined || own.next === own.end) {
      const first = await firstPort();
      own = { next: first, end: first + ranges.size - 1 };
    }
    const port = own.next;
    own.next += 1;
    const server = await listening({ port, exclusive: true });
    if (server === undefined) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

async function listening(options: ListenOptions): Promise<Server | undefined> {
  const server = createServer().listen(options);
  return once(server, 'listening').then(
    () => server,
    () => undefined,
  );
}

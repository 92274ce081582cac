import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/**
 * Starts a relay to a port of this machine. The relay can hold back bytes from the server.
 * @param connected called with both sockets of each connection
 */
export async function startRelay(
  t: TestContext,
  port: number,
  connected: (client: Socket, upstream: Socket) => void = () => undefined,
) {
  let start: Buffer | undefined;
  let isHeld = false;
  let held: Buffer[] = [];
  let ended: Socket[] = [];
  const sockets: Socket[] = [];
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    sockets.push(client, upstream);
    connected(client, upstream);
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      isHeld ||= start !== undefined && chunk.includes(start);
      if (isHeld) held.push(chunk);
      else client.write(chunk);
    });
    upstream.on('close', () => {
      if (isHeld) ended.push(client);
      else client.end();
    });
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
  });
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    /** Holds back bytes from the first chunk on that has these bytes, or from now on. */
    hold: (bytes: Buffer | undefined = undefined) => {
      start = bytes;
      isHeld = bytes === undefined;
    },
    get heldBytes() {
      return Buffer.concat(held).length;
    },
    /** Sends the held bytes to the first client. */
    release: () => {
      start = undefined;
      isHeld = false;
      for (const chunk of held) sockets[0]?.write(chunk);
      for (const client of ended) client.end();
      held = [];
      ended = [];
    },
  };
}

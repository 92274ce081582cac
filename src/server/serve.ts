import { chmod, rm } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';
import { apiServerOptions } from '../api/app.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { inUrl } from '../system/address.ts';
import { withDeadline } from '../system/deadline.ts';
import { http } from '../system/http.ts';

/** How long requests may go on that are under way when the server stops, in ms. */
const grace = 2000;

interface ApiListener extends AsyncDisposable {
  /** of the TCP listener, such as `http://127.0.0.1:8700` */
  url: string;
}

/** What this machine alone can reach, and who of it may: its mode. */
interface LocalSocket {
  path: string;
  mode: number;
  listener: RequestListener;
}

/**
 * Serves the API on TCP, and what there is for this machine alone on unix sockets. Disposing of it lets requests that
 * are under way go on for a moment, and ends them then.
 * @throws AppError `port_taken`
 */
export async function serveApi(
  { host, port }: { host: string; port: number },
  remote: RequestListener,
  sockets: LocalSocket[],
  options = apiServerOptions,
): Promise<ApiListener> {
  const tcp = http.createServer(options, remote);
  await using opened = new AsyncDisposableStack();
  await listen(tcp, { host, port });
  opened.defer(() => close(tcp));
  for (const { path, listener, mode } of sockets) {
    // One left over from a server that was killed; that nobody listens on it is what the lock says.
    await rm(path, { force: true });
    const unix = http.createServer(options, listener);
    await listen(unix, { path });
    opened.defer(() => close(unix));
    await chmod(path, mode);
  }

  const { address, port: bound } = tcp.address() as AddressInfo;
  const url = `http://${inUrl(address)}:${bound}`;
  const kept = opened.move();
  return { url, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

function listen(server: Server, options: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve);
    // For good: later an accept may fail, as for want of descriptors, and must not end the process.
    server.on('error', (error) => {
      if (systemCode(error) !== 'EADDRINUSE') return reject(error);
      reject(
        new AppError('port_taken', `${options.host} port ${options.port} is taken by another process`, {
          hint: 'Set another "listen.port" in config.json, or end what listens there.',
        }),
      );
    });
    server.listen(options);
  });
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const { timedOut } = await withDeadline(closed, grace);
  if (timedOut) server.closeAllConnections();
  await closed;
}

import { once } from 'node:events';
import { chmod, rm } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import { apiServerOptions } from '../api/app.ts';
import { upgradeListener } from '../api/upgrade.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import type { Log } from '../system/log/log.ts';
import { toUrlHost } from '../system/net/address.ts';
import { isListenedOn } from '../system/net/listeners.ts';
import { http } from '../system/process/footprint.ts';
import { type ConnectionLimits, connectionLimits, limitConnections } from './connections.ts';

/** Shortest time between two log lines about connections that are not accepted, in ms. */
const logInterval = 10_000;
/** Time for requests under way to end when the server stops, in ms. */
const stopTimeout = 2000;

interface ApiListener extends AsyncDisposable {
  /** of the TCP listener, such as `http://127.0.0.1:8700` */
  url: string;
}

/** Unix socket, with the mode that decides which users may connect. */
interface LocalSocket {
  path: string;
  mode: number;
  listener: RequestListener;
}

/**
 * Serves the API on TCP and on unix sockets. Disposing of the result waits a moment for requests under way, then ends them.
 * @param remote listener for requests on TCP
 * @param passed descriptors of sockets that listen already, for `remote`; if one of them is a TCP socket, no port is opened
 * @throws AppError `port_taken`
 */
export async function serveApi(
  { host, port }: { host: string; port: number },
  remote: RequestListener,
  sockets: LocalSocket[],
  {
    log,
    passed = [],
    options = apiServerOptions,
    limits = connectionLimits,
  }: { log: Log; passed?: number[]; options?: typeof apiServerOptions; limits?: ConnectionLimits },
): Promise<ApiListener> {
  const fail = failureLogger(log);
  await using opened = new AsyncDisposableStack();
  const open = async (listener: RequestListener, where: ListenOptions & { fd?: number }) => {
    const server = http.createServer(options, inTurn(listener));
    const sockets = openSockets(server);
    limitConnections(server, limits);
    server.on('upgrade', upgradeListener(listener));
    await listen(server, where, fail);
    opened.defer(() => close(server, sockets));
    const address = server.address();
    return typeof address === 'object' ? (address ?? undefined) : undefined;
  };
  let tcp: AddressInfo | undefined;
  for (const fd of passed) tcp = (await open(remote, { fd })) ?? tcp;
  tcp ??= await open(remote, await listenOptions(host, port));
  for (const { path, listener, mode } of sockets) {
    // A killed server leaves its socket. The lock of the server guarantees that nobody listens on it.
    await rm(path, { force: true });
    await open(listener, { path });
    await chmod(path, mode);
  }

  const url = `http://${toUrlHost(tcp?.address ?? host)}:${tcp?.port ?? port}`;
  const listeners = opened.move();
  return { url, [Symbol.asyncDispose]: () => listeners.disposeAsync() };
}

/**
 * Returns how the TCP port is opened. On Linux the port may be held by the runner (src/runner/ports/held-ports.ts), and then a
 * socket needs SO_REUSEPORT to listen. With this option, the kernel lets two servers of one user listen, so this function checks
 * that nobody listens.
 * @throws AppError `port_taken`
 */
async function listenOptions(host: string, port: number): Promise<ListenOptions> {
  if (process.platform !== 'linux') return { host, port };
  if (port !== 0 && (await isListenedOn(host, port))) throw portTaken(host, port);
  return { host, port, reusePort: true };
}

/**
 * Handles the requests of a connection one after the other. Node.js emits a request before the previous one is answered, and the
 * response has no socket yet. Koa misses the end of such a response, and leaves the file of its body open. Node.js
 * ends the process when it collects the handle of that file.
 */
function inTurn(listener: RequestListener): RequestListener {
  return (request, response) => {
    if (response.socket !== null) listener(request, response);
    else response.once('socket', () => listener(request, response));
  };
}

/** Returns a function that logs failed accepts, but not each of them: clients may connect by the thousand. */
function failureLogger(log: Log): (error: Error) => void {
  let loggedAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (performance.now() - loggedAt < logInterval) return;
    loggedAt = performance.now();
    log.error('API does not accept connections', { error });
  };
}

/** @param fail called with later errors: an accept may fail for lack of memory, and must not end the process */
async function listen(server: Server, options: ListenOptions, fail: (error: Error) => void): Promise<void> {
  try {
    await once(server.listen(options), 'listening');
  } catch (error) {
    throw systemCode(error) === 'EADDRINUSE' ? portTaken(options.host, options.port) : error;
  }
  server.on('error', fail);
}

function portTaken(host: string | undefined, port: number | undefined): AppError {
  return new AppError('port_taken', `port ${port} of ${host} is in use by another process`, {
    hint: 'Stop that process, or set another `listen.port` in config.json.',
  });
}

/** Returns the set of the open connections of a server, which has also those that were upgraded. */
function openSockets(server: Server): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return sockets;
}

async function close(server: Server, sockets: Set<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const { timedOut } = await withDeadline(closed, stopTimeout);
  if (timedOut) for (const socket of sockets) socket.destroy();
  await closed;
}

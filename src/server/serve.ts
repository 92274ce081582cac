import { once } from 'node:events';
import { chmod, rm, stat } from 'node:fs/promises';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import { dirname } from 'node:path';
import { apiServerOptions } from '../api/app.ts';
import { upgradeListener } from '../api/upgrade.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { replaceLink } from '../system/fs/files.ts';
import type { Log } from '../system/log/log.ts';
import { toUrlHost } from '../system/net/address.ts';
import { isListenedOn } from '../system/net/listeners.ts';
import { http } from '../system/process/footprint.ts';
import { type PassedSocket, pathOfSocket } from '../system/process/systemd.ts';
import { Activity } from './activity.ts';
import { type ConnectionLimits, connectionLimits, limitConnections } from './connections.ts';

/** Shortest time between two log lines about connections that are not accepted, in ms. */
const logInterval = 10_000;
/** Time for requests under way to end when the server stops, in ms. */
const stopTimeout = 2000;

interface ApiListener extends AsyncDisposable {
  /** of the TCP listener, such as `http://127.0.0.1:8700` */
  url: string;
  /** true if all sockets stay open without this server: connections then wait for the next one */
  outlivesServer: boolean;
  /** open connections, and requests that are handled, also those whose client has gone */
  activity: Activity;
  /** Accepts no more connections, at once. Those that have not been accepted wait for the next server if the sockets outlive it. */
  stopAccepting(): void;
}

/** Unix socket, with the mode that decides which users may connect. */
interface LocalSocket {
  /** name of a passed socket that listens instead, if there is one; `path` is then a link to that socket */
  name?: string;
  path: string;
  mode: number;
  listener: RequestListener;
}

/**
 * Serves the API on TCP and on unix sockets. Disposing of the result waits a moment for requests under way, then ends them.
 * @param remote listener for requests on TCP
 * @param passed sockets that listen already: those with the name of a local socket, and others for `remote`. If one of them is a
 *   TCP socket, no port is opened
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
  }: { log: Log; passed?: PassedSocket[]; options?: typeof apiServerOptions; limits?: ConnectionLimits },
): Promise<ApiListener> {
  const fail = failureLogger(log);
  const activity = new Activity();
  const servers: { server: Server; sockets: Set<Socket> }[] = [];
  await using opened = new AsyncDisposableStack();
  const open = async (listener: RequestListener, where: ListenOptions & { fd?: number }) => {
    const handle = counted(listener, activity);
    const server = http.createServer(options, inTurn(handle));
    const sockets = openSockets(server, activity);
    limitConnections(server, limits);
    server.on('upgrade', upgradeListener(handle));
    await listen(server, where, fail);
    servers.push({ server, sockets });
    opened.defer(() => close(server, sockets));
    const address = server.address();
    return typeof address === 'object' ? (address ?? undefined) : undefined;
  };
  let tcp: AddressInfo | undefined;
  const locals = new Map<string, string>();
  for (const { fd, name } of passed) {
    const local = sockets.find((socket) => socket.name === name);
    const path = local && (await pathOfSocket(fd));
    // A socket for others than the settings say is not served.
    if (local !== undefined && (path === undefined || !(await admits(path, local)))) continue;
    tcp = (await open(local?.listener ?? remote, { fd })) ?? tcp;
    if (path !== undefined) locals.set(name, path);
  }
  let outlivesServer = tcp !== undefined;
  tcp ??= await open(remote, await listenOptions(host, port));
  for (const { name = '', path, listener, mode } of sockets) {
    const passedPath = locals.get(name);
    if (passedPath !== undefined) {
      await replaceLink(path, passedPath);
      continue;
    }
    outlivesServer = false;
    // A killed server leaves its socket. The lock of the server guarantees that nobody listens on it.
    await rm(path, { force: true });
    await open(listener, { path });
    await chmod(path, mode);
  }

  const url = `http://${toUrlHost(tcp?.address ?? host)}:${tcp?.port ?? port}`;
  const listeners = opened.move();
  return {
    url,
    outlivesServer,
    activity,
    stopAccepting() {
      for (const { server } of servers) server.close();
    },
    [Symbol.asyncDispose]: () => listeners.disposeAsync(),
  };
}

/** Returns a listener whose work counts until it has ended, also if the client has gone. */
function counted(listener: RequestListener, activity: Activity): RequestListener {
  return (request, response) => {
    const end = activity.begin();
    // Koa returns a promise, which settles when the request has been handled.
    void Promise.resolve<unknown>(listener(request, response)).finally(end);
  };
}

/**
 * Returns true if a passed socket admits the users whom a new socket at `path` would admit, and nobody else. To connect, a user needs
 * the right to write.
 */
async function admits(passed: string, { path, mode }: LocalSocket): Promise<boolean> {
  const [found, directory] = await Promise.all([stat(passed), stat(dirname(path))]);
  const admitsGroup = (mode & 0o020) !== 0;
  return (found.mode & 0o022 & ~mode) === 0 && (!admitsGroup || found.gid === directory.gid);
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
function openSockets(server: Server, activity: Activity): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    const end = activity.begin();
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      end();
    });
  });
  return sockets;
}

async function close(server: Server, sockets: Set<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const { timedOut } = await withDeadline(closed, stopTimeout);
  if (timedOut) for (const socket of sockets) socket.destroy();
  await closed;
}

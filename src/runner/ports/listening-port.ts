import { addAbortListener, once } from 'node:events';
import net, { BoundSocket, isIP } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { parseEnvironmentName } from '../../config/paths.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import type { WorkerBoot } from '../../protocol/worker.ts';
import { findPortHolders, isListenedOn, type PortHolder } from '../../system/net/listeners.ts';
import { spawn } from '../../system/process/run.ts';
import { formatDuration, shellWord } from '../../system/text/format.ts';

/** Copies of the listening socket that a worker gets: one for its acceptor, and one for each time it opens again. */
export const socketCopies = 8;

/** Flag of a bind with SO_REUSEPORT (UV_TCP_REUSEPORT of libuv). */
const reusePort = 2;

/** Program that makes the socket with descriptor 3 listen, and ends before it could accept. */
const listenAndEnd = `process.exit(require('node:net')._createServerHandle(null, null, null, 3).listen(511) === 0 ? 0 : 1)`;

/**
 * Second handles of bound sockets, by descriptor number, for sending. To close one would close the descriptor of the first handle,
 * so the next socket with that number uses the second handle again.
 */
const sendable = new Map<number, unknown>();

/**
 * Program that waits until the socket with descriptor 3 can be bound, and makes it listen at once. Prints a line before it waits, and
 * ends before it could accept. Its arguments are the host, its family, the port, and the limit of the time in ms.
 */
const takeAndEnd = `
const [host, family, port, limit] = process.argv.slice(1);
const handle = require('node:net')._createServerHandle(null, null, null, 3);
const bind = family === '6' ? 'bind6' : 'bind';
const cell = new Int32Array(new SharedArrayBuffer(4));
const end = performance.now() + Number(limit);
require('node:fs').writeSync(1, 'waiting\\n');
const isBound = () => {
  const address = {};
  return handle.getsockname(address) === 0 && address.port === Number(port);
};
while (!isBound()) {
  if (handle[bind](host, Number(port), ${reusePort}) !== 0) process.exit(3);
  if (isBound()) break;
  if (performance.now() > end) process.exit(2);
  Atomics.wait(cell, 0, 0, 1);
}
process.exit(handle.listen(511) === 0 ? 0 : 3);
`;

type PortSpec = Pick<GenerationSpec, 'key' | 'host' | 'port' | 'paths'>;
type Socket = Pick<BoundSocket, 'fd' | 'close'>;

/**
 * Port of an app, bound until the app is stopped, so that connections wait in the kernel while no worker accepts. The runner
 * itself never accepts.
 */
export class ListeningPort {
  readonly host: string;
  readonly port: number;
  /** true if workers of an earlier runner may have the port, too */
  readonly besideOrphans: boolean;
  /** number of times that `renew` has replaced the socket */
  renewals = 0;
  #socket: Socket;
  #isBound: boolean;
  #isClosed = false;

  /**
   * Binds the port of an app.
   * @param besideOrphans true if workers of an earlier runner may have the port: then it is bound beside theirs
   * @throws AppError `port_taken`, which names the process that has the port
   */
  static async bind(spec: PortSpec, besideOrphans: boolean): Promise<ListeningPort> {
    const { host, port } = spec;
    // With reusePort, another process of the same user would silently get half of the connections.
    if (!besideOrphans && (await isListenedOn(host, port))) throw await portTaken(spec);
    try {
      // On Linux, `isListenedOn` has found such a process. A bind without reusePort would fail there, because the holder of
      // held-ports.ts has the port bound.
      if (!besideOrphans && process.platform !== 'linux') new BoundSocket({ host, port }).close();
      return new ListeningPort(host, port, besideOrphans);
    } catch (error) {
      if (hasCode(error, 'EADDRINUSE')) throw await portTaken(spec);
      if (!hasCode(error, 'EACCES', 'EADDRNOTAVAIL')) throw error;
      const { code } = error as NodeJS.ErrnoException;
      throw new AppError('port_taken', `port ${port} on ${host} cannot be bound: ${code}`, {
        hint: `Find the process that uses the port with "ss -ltnp 'sport = :${port}'", end it, and deploy again.`,
        cause: error,
      });
    }
  }

  /**
   * Makes the socket of a port that another program may still have. Workers get copies of the socket, and `take` binds it later:
   * the copies are bound then, too.
   */
  static reserve({ host, port }: PortSpec): ListeningPort {
    const { isBound, ...socket } = reservedSocket(host, port);
    const reserved = new ListeningPort(host, port, false, socket);
    reserved.#isBound = isBound;
    return reserved;
  }

  private constructor(
    host: string,
    port: number,
    besideOrphans: boolean,
    socket: Socket = new BoundSocket({ host, port, reusePort: true }),
  ) {
    this.host = host;
    this.port = port;
    this.besideOrphans = besideOrphans;
    this.#socket = socket;
    this.#isBound = true;
  }

  get fd(): number {
    return this.#socket.fd();
  }

  /** Handle of the socket, which can be sent to other processes; undefined after `close`. It must not be closed. */
  get _handle(): unknown {
    if (this.#isClosed) return undefined;
    const { fd } = this;
    // Node.js has no public way to send a bound socket.
    const { _createServerHandle: open } = net as unknown as Record<
      string,
      (host: null, port: null, family: null, fd: number) => unknown
    >;
    if (!sendable.has(fd)) sendable.set(fd, open?.(null, null, null, fd));
    return sendable.get(fd);
  }

  /**
   * Lets clients be refused at once if no worker has the socket: only a worker makes the new socket listen.
   * @throws the error of the system
   */
  renew(): void {
    const { host, port } = this;
    const next = new BoundSocket({ host, port, reusePort: true });
    this.#socket.close();
    this.#socket = next;
    this.renewals += 1;
  }

  /**
   * Lets connections wait in the kernel although no worker has had the socket yet. A process that ends at once makes it listen,
   * because Node.js would accept in this process.
   * @throws an error if that process fails
   */
  async listen(): Promise<void> {
    const stdio = ['ignore', 'ignore', 'ignore', this.fd] as const;
    const child = spawn(process.execPath, ['-e', listenAndEnd], { env: {}, stdio: [...stdio] });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`a process that listens on port ${this.port} ended with ${code}`);
  }

  /**
   * Binds a reserved port as soon as the other program has given it up, and makes it listen at once: from then on, clients wait
   * until a worker accepts.
   * @param within limit of the time, in ms
   * @param waiting called when the wait has begun
   * @throws AppError `port_taken` if the other program keeps the port; the reason of `signal`
   */
  async take(within: number, waiting: () => void, signal: AbortSignal): Promise<void> {
    const { host, port, fd } = this;
    // A bind beside another socket succeeds only if both have SO_REUSEPORT.
    if (this.#isBound && (await isListenedOn(host, port))) throw shared(host, port);
    const args = ['-e', takeAndEnd, host, String(isIP(host)), String(port), String(within)];
    const child = spawn(process.execPath, args, { env: {}, stdio: ['ignore', 'pipe', 'ignore', fd] });
    const stop = () => void child.kill('SIGKILL');
    using _ = addAbortListener(signal, stop);
    child.stdout?.once('data', waiting).resume();
    const [code] = await once(child, 'exit');
    signal.throwIfAborted();
    if (code === 0) return;
    if (code === 2) throw notGivenUp(host, port, within);
    throw new AppError('port_taken', `port ${port} on ${host} cannot be bound`, {
      hint: `Only root can bind a port below 1024. Find other users of the port with "ss -ltnp 'sport = :${port}'".`,
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.close();
  }
}

/**
 * Returns a socket that is not bound if another program listens on the port: libuv reports the failed bind only at `listen`. If the
 * port is free, the socket is bound.
 * @throws the error of the system
 */
function reservedSocket(host: string, port: number): Socket & { isBound: boolean } {
  const { _createServerHandle: create } = net as unknown as Record<
    string,
    (host: string, port: number, family: number, fd: null, flags: number) => Handle | number
  >;
  const handle = create?.(host, port, isIP(host), null, reusePort);
  if (typeof handle !== 'object') {
    throw new AppError(
      'port_taken',
      `port ${port} on ${host} cannot be bound: ${getSystemErrorName(handle ?? -1)}`,
      {
        hint: 'Only root can bind a port below 1024, and an address must be one of this machine.',
      },
    );
  }
  const isBound = handle.getsockname({}) === 0;
  return { fd: () => handle.fd, close: () => handle.close(), isBound };
}

interface Handle {
  fd: number;
  getsockname(address: object): number;
  close(): void;
}

function shared(host: string, port: number): AppError {
  return new AppError('port_taken', `another program shares port ${port} on ${host} (SO_REUSEPORT)`, {
    hint: 'End that program first, and try again.',
  });
}

function notGivenUp(host: string, port: number, within: number): AppError {
  return new AppError(
    'port_taken',
    `another program kept port ${port} on ${host} for ${formatDuration(within)}`,
    {
      hint: `Find that program with \`ss -ltnp 'sport = :${port}'\`, end it, and try again.`,
    },
  );
}

/** Returns an error that names the process that has the app's port, with a hint on what to do. */
async function portTaken({ key, host, port, paths }: PortSpec): Promise<AppError> {
  const holders = await findPortHolders(port);
  // A worker is preferred to its runner, which has the socket, too.
  const holder = holders.find((each) => workerOf(each) !== undefined) ?? holders[0];
  const taken = (by: string, remedy: string) =>
    new AppError('port_taken', `port ${port} on ${host} is in use by ${by}`, {
      hint: `${remedy} Sluice then starts ${key} within a minute. To start it at once: sluice start ${key}`,
    });
  if (holder === undefined)
    return taken('another process', `Find that process with \`ss -ltnp 'sport = :${port}'\`, and end it.`);
  const { pid, command } = holder;
  const worker = workerOf(holder);
  if (worker === undefined) {
    const shown = command.length > 80 ? `${command.slice(0, 79)}…` : command;
    return taken(`process ${pid} (${shown})`, 'End that process.');
  }
  if (worker.generationFile === paths.generation)
    return taken(
      `process ${pid}, a worker of ${key} that is not on record`,
      `End that process: kill ${pid}.`,
    );
  const home = shellWord(worker.home);
  return taken(
    `process ${pid}, a worker of ${worker.key} of the Sluice in ${worker.home}`,
    `Stop that Sluice (SLUICE_HOME=${home} ./install.sh --local --stop) or that app (SLUICE_HOME=${home} sluice stop ${worker.key}).`,
  );
}

interface ForeignWorker {
  key: string;
  home: string;
  generationFile: string;
}

/** Reads the app and the home of a worker from the variable for its bootstrap; returns undefined for other processes. */
function workerOf({ environment }: PortHolder): ForeignWorker | undefined {
  try {
    const { key, generationFile } = JSON.parse(environment['SLUICE_WORKER'] ?? '') as WorkerBoot;
    // HOME/apps/APP/ENVIRONMENT/generation
    const home = /^(.*)\/apps\/[^/]+\/[^/]+\/generation$/.exec(generationFile)?.[1];
    if (home === undefined || parseEnvironmentName(key) === undefined) return undefined;
    return { key, home, generationFile };
  } catch {
    return undefined;
  }
}

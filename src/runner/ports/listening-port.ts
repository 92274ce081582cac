import { once } from 'node:events';
import net, { BoundSocket } from 'node:net';
import { parseEnvironmentName } from '../../config/paths.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import type { WorkerBoot } from '../../protocol/worker.ts';
import { findPortHolders, isListenedOn, type PortHolder } from '../../system/net/listeners.ts';
import { spawn } from '../../system/process/run.ts';
import { shellWord } from '../../system/text/format.ts';

/** Copies of the listening socket that a worker gets: one for its acceptor, and one for each time it opens again. */
export const socketCopies = 8;

/** Program that makes the socket with descriptor 3 listen, and ends before it could accept. */
const listenAndEnd = `process.exit(require('node:net')._createServerHandle(null, null, null, 3).listen(511) === 0 ? 0 : 1)`;

/**
 * Second handles of bound sockets, by descriptor number, for sending. To close one would close the descriptor of the first handle,
 * so the next socket with that number uses the second handle again.
 */
const sendable = new Map<number, unknown>();

type PortSpec = Pick<GenerationSpec, 'key' | 'host' | 'port' | 'paths'>;

/**
 * Port of an app, bound until the app is stopped, so that connections wait in the kernel while no worker accepts. The runner
 * itself never accepts.
 */
export class ListeningPort {
  readonly host: string;
  readonly port: number;
  /** true if workers of an earlier runner may have the port, too */
  readonly besideOrphans: boolean;
  #socket: BoundSocket;
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

  private constructor(host: string, port: number, besideOrphans: boolean) {
    this.host = host;
    this.port = port;
    this.besideOrphans = besideOrphans;
    this.#socket = new BoundSocket({ host, port, reusePort: true });
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

  close(): void {
    this.#isClosed = true;
    this.#socket.close();
  }
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

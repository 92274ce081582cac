import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors/app-error.ts';
import { CallClient, type CallOptions } from '../protocol/peer.ts';
import type { EnvironmentStatus, LimitsReport, OneOffStatus, RunnerCalls } from '../protocol/runner.ts';
import { protocolVersion } from '../protocol/version.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { backoffDelay } from '../system/concurrency/retry.ts';
import type { Log } from '../system/log/log.ts';
import { bindRequestId } from '../system/log/request-id.ts';

/** Longest time that a call waits for a runner, in ms. */
const connectTimeout = 10_000;
/** Longest time for the answer to a query, in ms. */
const queryTimeout = 5000;
/** Delays between attempts to connect, in ms. */
const retry = { initial: 20, factor: 1.5, ceiling: 1000 };

type Client = CallClient<RunnerCalls>;
type Hello = RunnerCalls['hello']['result'];

type Link =
  | { state: 'connecting' }
  | { state: 'connected'; client: Client; hello: Hello; since: Date }
  | { state: 'refused'; error: AppError }
  | { state: 'closed' };

interface RunnerClientOptions {
  /** path of the runner's unix socket */
  path: string;
  log: Log;
  /** called after each attempt to connect that finds no runner */
  whenAbsent?: () => void;
  /** called with each runner before any other call is sent to it */
  greeted?: (client: Client, hello: Hello) => Promise<void>;
  /** asks a runner of another version to leave. Whatever has started that runner then starts the next one. */
  replaceOthers?: boolean;
}

/**
 * Connection of the server to the runner. Connects again when the runner is replaced. A call then waits for the next
 * runner, and a call under way fails with `runner_unavailable`.
 */
export class RunnerClient {
  readonly #options: RunnerClientOptions;
  readonly #stopped = new AbortController();
  readonly #onConnected = new Set<() => void>();
  readonly #maintained: Promise<void>;
  #link: Link = { state: 'connecting' };
  /** resolves when the state is not `connecting` any more */
  #decided = Promise.withResolvers<void>();

  constructor(options: RunnerClientOptions) {
    this.#options = options;
    this.#maintained = this.#maintain();
  }

  /** Returns what the runner reported about itself; null without a runner. */
  get info(): { pid: number; limits: LimitsReport } | null {
    if (this.#link.state !== 'connected') return null;
    const { pid, limits } = this.#link.hello;
    return { pid, limits };
  }

  /** Returns the time of the connection; null without a runner. */
  get connectedSince(): Date | null {
    return this.#link.state === 'connected' ? this.#link.since : null;
  }

  /** Calls `listener` whenever a runner has been connected, and now if one is. */
  onConnected(listener: () => void): void {
    this.#onConnected.add(listener);
    if (this.#link.state === 'connected') listener();
  }

  /** @throws AppError of the runner; `runner_unavailable`, `protocol_mismatch` */
  async call<Name extends keyof RunnerCalls & string>(
    name: Name,
    params: RunnerCalls[Name]['params'],
    options: CallOptions<RunnerCalls[Name]['progress']> = {},
  ): Promise<RunnerCalls[Name]['result']> {
    options.signal?.throwIfAborted();
    const { client } = await this.#connected();
    const { onProgress } = options;
    return client.call(
      name,
      params,
      onProgress ? { ...options, onProgress: bindRequestId(onProgress) } : options,
    );
  }

  /**
   * Opens a connection of its own for one call, so that the caller may read slowly. The caller closes it.
   * @throws AppError `runner_unavailable`, `protocol_mismatch`
   */
  async open(): Promise<Client> {
    await this.#connected();
    const socket = await connectTo(this.#options.path);
    if (socket === undefined) throw unavailable();
    const client: Client = new CallClient(socket, unavailable);
    try {
      await client.call('hello', { version: protocolVersion });
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Returns true if each app runs as a user of its own. @throws AppError as `call` */
  async hasUsers(): Promise<boolean> {
    return (await this.#connected()).hello.users;
  }

  /**
   * Returns the status of all environments that the runner knows.
   * @param key of one environment: returns nothing else
   * @throws AppError as `call`; `runner_stuck`
   */
  status(key?: string): Promise<EnvironmentStatus[]> {
    return this.query('status', key === undefined ? {} : { key });
  }

  /** Returns the one-off commands that run, of all apps. @throws AppError as `status` */
  oneOffs(): Promise<OneOffStatus[]> {
    return this.query('oneOffs', {});
  }

  /** Sends a query, and sends it again if the runner is replaced meanwhile. @throws AppError as `status` */
  async query<Name extends 'status' | 'usage' | 'oneOffs'>(
    name: Name,
    params: RunnerCalls[Name]['params'],
  ): Promise<RunnerCalls[Name]['result']> {
    const { client, hello } = await this.#connected();
    try {
      const answer = await withDeadline(client.call(name, params), queryTimeout);
      if (answer.timedOut) throw stuck(hello.pid);
      return answer.value;
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
      await client.closed;
      return this.call(name, params);
    }
  }

  /**
   * Ends the runner, and does not connect again. `shutdown` drains and ends all apps; `leave` leaves the apps to the next
   * runner.
   */
  async end(how: 'shutdown' | 'leave'): Promise<void> {
    this.#stopped.abort();
    if (this.#link.state !== 'connected') return;
    const { client } = this.#link;
    await client.call(how, {});
    await client.closed;
  }

  /** Closes the connection. The runner continues. */
  async close(): Promise<void> {
    this.#stopped.abort();
    if (this.#link.state === 'connected') this.#link.client.close();
    await this.#maintained;
  }

  async #connected(): Promise<Extract<Link, { state: 'connected' }>> {
    if (this.#link.state === 'connecting') await withDeadline(this.#decided.promise, connectTimeout);
    if (this.#link.state === 'connected') return this.#link;
    throw this.#link.state === 'refused' ? this.#link.error : unavailable();
  }

  async #maintain(): Promise<void> {
    const { path, whenAbsent } = this.#options;
    const { signal } = this.#stopped;
    for (let failures = 0; !signal.aborted; ) {
      const socket = await connectTo(path);
      failures += 1;
      if (socket === undefined) whenAbsent?.();
      else if (await this.#useUntilClosed(new CallClient(socket, unavailable))) failures = 1;
      // The sleep ends early when the client is closed.
      await sleep(backoffDelay(failures, retry), undefined, { signal }).catch(() => undefined);
    }
    this.#setLink({ state: 'closed' });
  }

  /** Uses a connection until it closes. Returns false if the runner was refused. */
  async #useUntilClosed(client: Client): Promise<boolean> {
    const isAccepted = await this.#greet(client);
    await client.closed;
    if (this.#link.state === 'connected') {
      const level = this.#stopped.signal.aborted ? 'info' : 'warn';
      this.#options.log[level]('runner lost', { pid: this.#link.hello.pid });
      this.#setLink({ state: 'connecting' });
    }
    return isAccepted;
  }

  async #greet(client: Client): Promise<boolean> {
    const { log, greeted, replaceOthers } = this.#options;
    try {
      const hello = await client.call('hello', { version: protocolVersion });
      if (hello.version !== protocolVersion) throw mismatch(hello.version);
      await greeted?.(client, hello);
      if (this.#stopped.signal.aborted) client.close();
      log.info('runner connected', { pid: hello.pid });
      this.#setLink({ state: 'connected', client, hello, since: new Date() });
      for (const listener of this.#onConnected) listener();
      return true;
    } catch (error) {
      const isMismatch = error instanceof AppError && error.code === 'protocol_mismatch';
      if (isMismatch && replaceOthers) await this.#askToLeave(client);
      client.close();
      if (!(error instanceof AppError)) throw error;
      const { code, message } = error;
      if (this.#link.state !== 'refused') log.error('runner refused', { code, message });
      if (isMismatch && !replaceOthers) this.#setLink({ state: 'refused', error });
      return false;
    }
  }

  /** Sends `leave`, which runners of all versions know. If that fails, the next connection tries again. */
  async #askToLeave(client: Client): Promise<void> {
    const { log } = this.#options;
    log.info('runner of another version asked to leave');
    await client.call('leave', {}).catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      log.warn('runner of another version stays', { code: error.code, message: error.message });
    });
  }

  #setLink(link: Link): void {
    this.#link = link;
    if (link.state === 'connecting') this.#decided = Promise.withResolvers();
    else this.#decided.resolve();
  }
}

/** Returns a connection; undefined if nothing listens. */
function connectTo(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

function stuck(pid: number): AppError {
  return new AppError(
    'runner_stuck',
    `the process that runs the apps (pid ${pid}) has not answered for ${queryTimeout / 1000} s`,
    {
      hint: `Running apps are not affected. If the process does not recover: \`kill -9 ${pid}\`; Sluice starts another, and no app ends.`,
    },
  );
}

function unavailable(): AppError {
  return new AppError('runner_unavailable', 'the process that runs the apps does not answer', {
    hint: 'Running apps are not affected. `sluice up` starts the process again; its log has the reason why it ended.',
  });
}

function mismatch(version: number): AppError {
  return new AppError(
    'protocol_mismatch',
    `the runner speaks version ${version} of the protocol, and this server version ${protocolVersion}`,
    { hint: 'Stop Sluice and start it again, so that both have the same version.' },
  );
}

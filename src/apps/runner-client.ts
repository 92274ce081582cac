import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors/app-error.ts';
import { CallClient, type CallOptions } from '../protocol/peer.ts';
import type { EnvironmentStatus, LimitsReport, RunnerCalls, RunnerUsage } from '../protocol/runner.ts';
import { protocolVersion } from '../protocol/version.ts';
import { withDeadline } from '../system/concurrency/deadline.ts';
import { backoffDelay } from '../system/concurrency/retry.ts';
import type { Log } from '../system/log/log.ts';
import { bindRequestId } from '../system/log/request-id.ts';

type Link =
  | { state: 'connecting' }
  | {
      state: 'connected';
      client: CallClient<RunnerCalls>;
      pid: number;
      users: boolean;
      limits: LimitsReport;
      since: Date;
    }
  | { state: 'refused'; error: AppError }
  | { state: 'closed' };

/** How long the runner may take to say what runs, in ms. */
const statusWithin = 5000;
/** Between two attempts to connect; in ms. */
const retry = { initial: 20, factor: 1.5, ceiling: 1000 };

interface RunnerClientOptions {
  /** the runner's unix socket */
  path: string;
  log: Log;
  /** called where nobody answers on the socket, again and again until somebody does */
  whenAbsent?: () => void;
  /** called with each runner before any other call is sent to it */
  greeted?: (client: CallClient<RunnerCalls>, hello: RunnerCalls['hello']['result']) => Promise<void>;
  /** whether one of another version is told to leave: whoever has started it then starts the next */
  replaceOthers?: boolean;
  /** how long a call waits for a runner that is not there, in ms */
  patience?: number;
}

/**
 * The server's side of the connection to the runner. Connects by itself and does so again when the runner is
 * replaced: a call made meanwhile waits a little, one that was under way fails with `runner_unavailable`.
 */
export class RunnerClient {
  readonly #options: RunnerClientOptions;
  readonly #stopped = new AbortController();
  readonly #onConnected = new Set<() => void>();
  readonly #maintained: Promise<void>;
  #link: Link = { state: 'connecting' };
  #linked = Promise.withResolvers<void>();

  constructor(options: RunnerClientOptions) {
    this.#options = options;
    this.#maintained = this.#maintain();
  }

  /** What it says of itself; null while there is none. */
  get info(): { pid: number; limits: LimitsReport } | null {
    if (this.#link.state !== 'connected') return null;
    const { pid, limits } = this.#link;
    return { pid, limits };
  }

  /** When it was connected to; null while there is none. */
  get connectedSince(): Date | null {
    return this.#link.state === 'connected' ? this.#link.since : null;
  }

  /** Calls back each time a runner has been connected to, the present one included. */
  onConnected(listener: () => void): void {
    this.#onConnected.add(listener);
    if (this.#link.state === 'connected') listener();
  }

  /** @throws AppError what the runner threw, `runner_unavailable`, `protocol_mismatch` */
  async call<Name extends keyof RunnerCalls & string>(
    name: Name,
    params: RunnerCalls[Name]['params'],
    options: CallOptions<RunnerCalls[Name]['progress']> = {},
  ): Promise<RunnerCalls[Name]['result']> {
    options.signal?.throwIfAborted();
    const client = await this.#client();
    const { onProgress } = options;
    return client.call(
      name,
      params,
      onProgress ? { ...options, onProgress: bindRequestId(onProgress) } : options,
    );
  }

  /** Whether each app runs as a user of its own. @throws AppError as `call` */
  async hasUsers(): Promise<boolean> {
    await this.#client();
    return this.#link.state === 'connected' && this.#link.users;
  }

  /** Returns the status of all apps that the runner knows. @throws AppError as `call` */
  status(): Promise<EnvironmentStatus[]> {
    return this.#query('status');
  }

  /** Returns the number of file descriptors that the runner has open, and its limit. @throws AppError as `call` */
  usage(): Promise<RunnerUsage> {
    return this.#query('usage');
  }

  /** Sends a query, and sends it again if the runner is replaced meanwhile. */
  async #query<Name extends 'status' | 'usage'>(name: Name): Promise<RunnerCalls[Name]['result']> {
    const client = await this.#client();
    try {
      const answer = await withDeadline(client.call(name, {}), statusWithin);
      if (answer.timedOut) throw silent(this.info?.pid);
      return answer.value;
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'runner_unavailable')) throw error;
      await client.closed;
      return this.call(name, {});
    }
  }

  /** Ends all apps, what is in flight first, and the runner itself, for good: no other is looked for. */
  shutdown(): Promise<void> {
    return this.#end('shutdown');
  }

  /** Ends the runner itself, for good, and leaves the apps to the next one. */
  leave(): Promise<void> {
    return this.#end('leave');
  }

  async #end(how: 'shutdown' | 'leave'): Promise<void> {
    this.#stopped.abort();
    if (this.#link.state !== 'connected') return;
    const { client } = this.#link;
    await client.call(how, {});
    await client.closed;
  }

  /** Lets go of the runner, which goes on. */
  async close(): Promise<void> {
    this.#stopped.abort();
    if (this.#link.state === 'connected') this.#link.client.close();
    await this.#maintained;
  }

  async #client(): Promise<CallClient<RunnerCalls>> {
    const { patience = 10_000 } = this.#options;
    if (this.#link.state === 'connecting') await withDeadline(this.#linked.promise, patience);
    switch (this.#link.state) {
      case 'connected':
        return this.#link.client;
      case 'refused':
        throw this.#link.error;
      case 'connecting':
      case 'closed':
        throw unavailable();
    }
  }

  async #maintain(): Promise<void> {
    for (let failures = 0; !this.#stopped.signal.aborted; ) {
      const socket = await connectTo(this.#options.path);
      if (socket === undefined) {
        this.#options.whenAbsent?.();
        await this.#sleep(backoffDelay(++failures, retry));
        continue;
      }
      const client = new CallClient<RunnerCalls>(socket, unavailable);
      failures = (await this.#greet(client)) ? 0 : failures + 1;
      await client.closed;
      if (this.#link.state === 'connected') {
        const level = this.#stopped.signal.aborted ? 'info' : 'warn';
        this.#options.log[level]('runner lost', { pid: this.#link.pid });
        this.#become({ state: 'connecting' });
      }
      await this.#sleep(backoffDelay(failures + 1, retry));
    }
    this.#become({ state: 'closed' });
  }

  /** @returns whether this is a runner that we can work with */
  async #greet(client: CallClient<RunnerCalls>): Promise<boolean> {
    try {
      const hello = await client.call('hello', { version: protocolVersion });
      const { version, pid, users, limits } = hello;
      if (version !== protocolVersion) throw mismatch(version);
      await this.#options.greeted?.(client, hello);
      if (this.#stopped.signal.aborted) client.close();
      this.#options.log.info('runner connected', { pid });
      this.#become({ state: 'connected', client, pid, users, limits, since: new Date() });
      for (const listener of this.#onConnected) listener();
      return true;
    } catch (error) {
      if (isMismatch(error) && this.#options.replaceOthers) await this.#turnOut(client);
      client.close();
      if (!(error instanceof AppError)) throw error;
      const told = this.#link.state === 'refused';
      if (!told) this.#options.log.error('runner refused', { code: error.code, message: error.message });
      if (isMismatch(error) && !this.#options.replaceOthers) this.#become({ state: 'refused', error });
      return false;
    }
  }

  /** Asks for what all versions understand. Where it fails the caller tries again, with the next one maybe. */
  async #turnOut(client: CallClient<RunnerCalls>): Promise<void> {
    this.#options.log.info('runner of another version told to leave');
    await client.call('leave', {}).catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
      this.#options.log.warn('runner of another version stays', { code: error.code, message: error.message });
    });
  }

  #become(link: Link): void {
    this.#link = link;
    if (link.state === 'connecting') this.#linked = Promise.withResolvers();
    else this.#linked.resolve();
  }

  async #sleep(milliseconds: number): Promise<void> {
    const { signal } = this.#stopped;
    // Being told to stop is how this ends early, not an error.
    await sleep(milliseconds, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

function isMismatch(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'protocol_mismatch';
}

/** A connection, or undefined where nobody listens. */
function connectTo(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

/** It is there and says nothing: what it runs goes on, and so would a successor. */
function silent(pid: number | undefined): AppError {
  return new AppError(
    'runner_stuck',
    `the process that runs the apps (pid ${pid}) has not answered for ${statusWithin / 1000} s`,
    {
      hint: `Apps that run go on running. Where it does not come round: \`kill -9 ${pid}\`; Sluice starts another, and no app ends.`,
    },
  );
}

function unavailable(): AppError {
  return new AppError('runner_unavailable', 'the process that runs the apps does not answer', {
    hint: 'Apps that run go on running. `sluice up` starts it again by itself; its log tells why it ended.',
  });
}

function mismatch(version: number): AppError {
  return new AppError(
    'protocol_mismatch',
    `the running runner speaks version ${version} of the protocol, this server ${protocolVersion}`,
    { hint: 'Stop Sluice and start it again, so that both are of one version.' },
  );
}

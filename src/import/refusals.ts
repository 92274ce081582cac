import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../errors/app-error.ts';
import { isWildcard } from '../system/net/address.ts';

/** Pause between two connections, in ms. */
const pause = 1;

/** Observation of a port. */
export interface Refusals {
  /** Ends the observation. @returns the longest time in which connections were refused, in ms */
  end(): Promise<number>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Connects to a port again and again, and measures for how long its connections are refused. */
export function observeRefusals({ host, port }: { host: string; port: number }): Refusals {
  const address = isWildcard(host) ? '127.0.0.1' : host;
  const ended = new AbortController();
  const observation = observe();
  const end = () => {
    ended.abort();
    return observation;
  };
  return {
    end,
    async [Symbol.asyncDispose]() {
      await end();
    },
  };

  async function observe(): Promise<number> {
    let longest = 0;
    let refusedSince: number | undefined;
    while (!ended.signal.aborted) {
      const startedAt = performance.now();
      const isRefused = await isConnectionRefused(address, port);
      if (isRefused) refusedSince ??= startedAt;
      else {
        if (refusedSince !== undefined) longest = Math.max(longest, performance.now() - refusedSince);
        refusedSince = undefined;
      }
      await sleep(pause);
    }
    return refusedSince === undefined ? longest : Math.max(longest, performance.now() - refusedSince);
  }
}

async function isConnectionRefused(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect');
    return false;
  } catch (error) {
    if (hasCode(error, 'ECONNREFUSED')) return true;
    // A connection that was reset had been accepted.
    return false;
  } finally {
    socket.destroy();
  }
}

import { AsyncLocalStorage } from 'node:async_hooks';

const requests = new AsyncLocalStorage<string>();

/** Runs `work` for a request: everything that `work` logs, now or later, has the id of the request. */
export function withRequestId<T>(id: string, work: () => T): T {
  return requests.run(id, work);
}

/** Returns the id of the request that the running code belongs to. */
export function requestId(): string | undefined {
  return requests.getStore();
}

/** Binds a callback to the current request, for calls from a connection that requests share. */
export function bindRequestId<Args extends unknown[], T>(
  callback: (...args: Args) => T,
): (...args: Args) => T {
  return AsyncLocalStorage.bind(callback);
}

import { AsyncLocalStorage } from 'node:async_hooks';

const requests = new AsyncLocalStorage<string>();

/** Does `work` on behalf of a request: what it logs, however deep and however late, names the request. */
export function onBehalfOf<T>(requestId: string, work: () => T): T {
  return requests.run(requestId, work);
}

/** The id of the request that this is done for; undefined where it is done for none. */
export function requestId(): string | undefined {
  return requests.getStore();
}

/** A callback that stays with the request it was made for, also when it is called for what comes in on a connection that all share. */
export function stayOnBehalf<Args extends unknown[], T>(
  callback: (...args: Args) => T,
): (...args: Args) => T {
  return AsyncLocalStorage.bind(callback);
}

import { addAbortListener } from 'node:events';

/**
 * What comes first, a promise's value or a signal that aborts, which is told by itself. No listener is left: Node.js
 * keeps a signal made of others alive for as long as it has one, and with it all that the listener knows.
 */
export async function firstOf<T>(promises: Promise<T>[], signals: AbortSignal[]): Promise<T | AbortSignal> {
  using listeners = new DisposableStack();
  const aborted = signals.map(
    (signal) =>
      new Promise<AbortSignal>((resolve) => {
        listeners.use(addAbortListener(signal, () => resolve(signal)));
      }),
  );
  return await Promise.race([...promises, ...aborted]);
}

import { AppError } from '../errors/app-error.ts';

/**
 * Aborted by the first Ctrl-C, or a request to end, so that what has been begun is cleared away; the second ends us at once.
 * To be disposed of when it is too late for that.
 */
export function interruption(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const interrupt = () => {
    stopListening();
    controller.abort(new AppError('cancelled', 'it was interrupted, and what it had begun is gone again'));
  };
  const stopListening = () => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, interrupt);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, interrupt);
  return { signal: controller.signal, [Symbol.dispose]: stopListening };
}

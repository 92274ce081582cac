/**
 * Waits for `promise`, at most `milliseconds`; the timer is gone either way. Where our own event loop stood still for
 * that long, timers come before what has been sent to us meanwhile: that is read first, and is in time.
 * @returns the promise's value, or `{ timedOut: true }`
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<{ timedOut: false; value: T } | { timedOut: true }> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<{ timedOut: true }>((resolve) => {
    timer = setTimeout(() => setImmediate(resolve, { timedOut: true }), milliseconds);
  });
  try {
    return await Promise.race([promise.then((value) => ({ timedOut: false as const, value })), deadline]);
  } finally {
    clearTimeout(timer);
  }
}

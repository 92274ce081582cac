/**
 * Waits for `promise`, at most `milliseconds`; the timer is gone either way.
 * @returns the promise's value, or `{ timedOut: true }`
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<{ timedOut: false; value: T } | { timedOut: true }> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<{ timedOut: true }>((resolve) => {
    timer = setTimeout(resolve, milliseconds, { timedOut: true });
  });
  try {
    return await Promise.race([promise.then((value) => ({ timedOut: false as const, value })), deadline]);
  } finally {
    clearTimeout(timer);
  }
}

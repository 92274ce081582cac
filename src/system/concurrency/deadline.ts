/**
 * A timer for what somebody may take. Where our own event loop has stood still, a machine that was suspended included,
 * timers come before what has been sent to us meanwhile: that is read first, and is in time.
 * @param milliseconds until `late`
 */
export function patientTimer(late: () => void, milliseconds: number): NodeJS.Timeout {
  // In a turn of the event loop timers come first, what has come over the network next, and then this.
  return setTimeout(() => setImmediate(late), milliseconds);
}

/**
 * Waits for `promise`, at most `milliseconds`; the timer is gone either way, and patient.
 * @returns the promise's value, or `{ timedOut: true }`
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<{ timedOut: false; value: T } | { timedOut: true }> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<{ timedOut: true }>((resolve) => {
    timer = patientTimer(() => resolve({ timedOut: true }), milliseconds);
  });
  try {
    return await Promise.race([promise.then((value) => ({ timedOut: false as const, value })), deadline]);
  } finally {
    clearTimeout(timer);
  }
}

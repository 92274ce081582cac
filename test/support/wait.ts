/**
 * Waits until `condition` holds, looking again every few milliseconds, and returns what it gave.
 * @throws when it does not hold within `timeout` milliseconds; `what` says in the error what was waited for
 */
export async function waitFor<T>(
  condition: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  { timeout = 60_000, interval = 20, what = 'the condition' } = {},
): Promise<T> {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what} did not come about within ${timeout} ms`);
    await new Promise((resolve) => setTimeout(resolve, interval));
  }
}

interface BackoffOptions {
  /** milliseconds before the second attempt; the first is made at once */
  initial: number;
  factor: number;
  /** the longest delay in milliseconds */
  ceiling: number;
}

/** Milliseconds to wait before attempt number `failures` (0 is the first attempt, made at once). */
export function backoffDelay(failures: number, { initial, factor, ceiling }: BackoffOptions): number {
  if (failures <= 0) return 0;
  return Math.min(ceiling, initial * factor ** (failures - 1));
}

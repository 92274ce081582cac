/** Returns the value in the middle, or the mean of the two there; NaN without values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [low = Number.NaN, high = Number.NaN] = [
    sorted[Math.floor((sorted.length - 1) / 2)],
    sorted[Math.floor(sorted.length / 2)],
  ];
  return (low + high) / 2;
}

/** Returns the smallest value that is not below a share of the values, such as 0.99; NaN without values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/**
 * Returns how even a load is: the largest count, divided by the mean.
 * @param counts of the workers that have any
 * @param workers number of all workers
 */
export function balance(counts: readonly number[], workers: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return Math.max(...counts) / (total / workers);
}

/** Returns the median of the ratios within the rounds; NaN without rounds. */
export function medianRatio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => ratio(value, theirs[round] ?? Number.NaN)));
}

/** Returns 1 for two zeros. */
function ratio(ours: number, theirs: number): number {
  return ours === theirs ? 1 : ours / theirs;
}

/** Writes a figure with three digits, or as a whole number if it has more. */
export function written(value: number | null, unit = ''): string {
  if (value === null || Number.isNaN(value)) return '–';
  const digits = Math.max(0, 2 - Math.max(0, Math.floor(Math.log10(Math.abs(value) || 1))));
  const text = value.toLocaleString('en', { maximumFractionDigits: digits });
  return unit === '' || unit === '%' ? `${text}${unit && ` ${unit}`}` : `${text} ${unit}`;
}

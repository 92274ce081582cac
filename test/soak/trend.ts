/** Points of a measurement: x to y. */
export type Points = [x: number, y: number][];

/** By how much y grows with each x: the median of the slopes between all pairs, which single outliers cannot move. */
export function slope(points: Points): number {
  const slopes = points.flatMap(([x1, y1], index) =>
    points.slice(index + 1).map(([x2, y2]) => (y2 - y1) / (x2 - x1)),
  );
  return median(slopes);
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/**
 * Returns the lines that differ between two texts, for people: each with `-` or `+`, and its number in the old or the new text.
 * Finds lines that were replaced or removed in place, as `replaceProxies` does.
 */
export function diffLines(before: string, after: string): string[] {
  const [old, next] = [before.split('\n'), after.split('\n')];
  const lines: string[] = [];
  let [from, to] = [0, 0];
  while (from < old.length || to < next.length) {
    if (old[from] === next[to]) {
      from += 1;
      to += 1;
      continue;
    }
    const isRemoved = old.length - from > next.length - to && old.slice(from + 1).includes(next[to] ?? '');
    lines.push(`-${String(from + 1).padStart(4)}  ${old[from] ?? ''}`);
    from += 1;
    if (isRemoved) continue;
    lines.push(`+${String(to + 1).padStart(4)}  ${next[to] ?? ''}`);
    to += 1;
  }
  return lines;
}

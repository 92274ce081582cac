// Patterns of workspaces: `*` and `?` in a name, `**` for any number of directories, and `{a,b}`. No regular expressions and no
// recursion over names: the time is limited even for a pattern that an attacker has chosen.

/**
 * Returns true if the segments of a pattern match the names of a path, as in `packages/**` and `packages/a/b`. A segment `**`
 * matches any number of names.
 */
export function matchesPath(segments: string[], names: string[]): boolean {
  return matches(segments, names, (segment) => segment === '**', matchesName);
}

/** Returns true if a pattern without slashes matches a name. `*` and `?` match no leading dot. */
export function matchesName(pattern: string, name: string): boolean {
  if (name.startsWith('.') && !pattern.startsWith('.')) return false;
  return matches(
    [...pattern],
    [...name],
    (character) => character === '*',
    (character, other) => character === '?' || character === other,
  );
}

/** Matches two lists; a wild item matches any number of items. Takes at most the product of the lengths. */
function matches<T>(
  pattern: T[],
  items: T[],
  isWild: (item: T) => boolean,
  isMatch: (item: T, other: T) => boolean,
): boolean {
  // Positions in the pattern that the items so far can reach.
  let reached = reach(new Set([0]));
  for (const item of items) {
    const next = new Set<number>();
    for (const at of reached) {
      const part = pattern[at];
      if (part === undefined) continue;
      if (isWild(part)) next.add(at);
      else if (isMatch(part, item)) next.add(at + 1);
    }
    reached = reach(next);
  }
  return reached.has(pattern.length);

  /** Adds the positions behind wild items, which also match nothing. */
  function reach(positions: Set<number>): Set<number> {
    for (const at of positions) {
      const part = pattern[at];
      if (part !== undefined && isWild(part)) positions.add(at + 1);
    }
    return positions;
  }
}

/** Expands `{a,b}` in a pattern; stops as soon as there are more than `limit` results. */
export function expandBraces(pattern: string, limit: number): string[] {
  const done: string[] = [];
  const open = [pattern];
  for (let next = open.pop(); next !== undefined && done.length + open.length <= limit; next = open.pop()) {
    const braces = /\{([^{}]*,[^{}]*)\}/.exec(next);
    if (braces === null) {
      done.push(next);
      continue;
    }
    const [all, choices = ''] = braces;
    const before = next.slice(0, braces.index);
    const after = next.slice(braces.index + all.length);
    open.push(
      ...choices
        .split(',')
        .reverse()
        .map((choice) => `${before}${choice}${after}`),
    );
  }
  return [...done, ...open];
}

// Patterns of workspaces: `*` and `?` in a name, `**` for any number of directories, and `{a,b}`. No regular expressions and no
// recursion over names: the time is limited even for a pattern that an attacker has chosen.

/**
 * Returns true if the segments of a pattern match the names of a path, as in `packages/**` and `packages/a/b`. A segment `**`
 * matches any number of names.
 */
export function matchesPath(segments: string[], names: string[]): boolean {
  return matches(
    segments.length,
    names.length,
    (at) => segments[at] === '**',
    (at, item) => matchesName(segments[at] as string, names[item] as string),
  );
}

const [star, questionMark] = [0x2a, 0x3f];

/** Returns true if a pattern without slashes matches a name. `*` and `?` match no leading dot. */
export function matchesName(pattern: string, name: string): boolean {
  if (name.startsWith('.') && !pattern.startsWith('.')) return false;
  return matches(
    pattern.length,
    name.length,
    (at) => pattern.charCodeAt(at) === star,
    (at, item) => {
      const code = pattern.charCodeAt(at);
      return code === questionMark || code === name.charCodeAt(item);
    },
  );
}

/**
 * Matches the items of two lists by their indexes; a wild item of the pattern matches any number of items. Takes at most the product
 * of the lengths: only the last wild item has to try more, because an earlier one gains nothing by that.
 */
function matches(
  length: number,
  items: number,
  isWild: (at: number) => boolean,
  isMatch: (at: number, item: number) => boolean,
): boolean {
  let [at, item, wild, tried] = [0, 0, -1, 0];
  for (;;) {
    if (at < length && isWild(at)) {
      wild = at;
      tried = item;
      at += 1;
    } else if (item === items) {
      return at === length;
    } else if (at < length && isMatch(at, item)) {
      at += 1;
      item += 1;
    } else if (wild !== -1) {
      tried += 1;
      item = tried;
      at = wild + 1;
    } else return false;
  }
}

/** Returns the most time that a comparison of a pattern with a name or path takes, in steps of about a microsecond. */
export function stepsFor(pattern: string, name: string): number {
  return 1 + Math.floor((pattern.length * name.length) / 128);
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

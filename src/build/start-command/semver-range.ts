type Version = readonly [major: number, minor: number, patch: number];

/**
 * Whether a range, as `engines` has it, includes a version; undefined where it is no range that we can read. Only for
 * releases: what a range says of prereleases is left out.
 * Source: https://github.com/npm/node-semver#ranges
 */
export function includesVersion(range: string, version: string): boolean | undefined {
  const wanted = parse(version);
  if (wanted === undefined) return undefined;
  const alternatives = range.split('||').map((part) => includesAll(part, wanted));
  if (alternatives.includes(undefined)) return undefined;
  return alternatives.includes(true);
}

function includesAll(comparators: string, version: Version): boolean | undefined {
  const words = comparators
    .replace(/(\S+)\s+-\s+(\S+)/g, '>=$1 <=$2')
    .replace(/([<>=~^])\s+/g, '$1')
    .split(/\s+/);
  const all = words.map((word) => includes(word, version));
  return all.includes(undefined) ? undefined : all.every(Boolean);
}

const comparator =
  /^(>=|<=|>|<|=|\^|~>?)?v?(\d+|[xX*])?(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+][\w.+-]+)?$/;

/** Every comparator is two bounds: what it names begins at `low` and ends before `next`. */
function includes(word: string, version: Version): boolean | undefined {
  const match = comparator.exec(word);
  if (match === null) return undefined;
  const [, operator = '=', ...named] = match;
  const parts = named.map((part) => (part === undefined || /[xX*]/.test(part) ? undefined : Number(part)));
  const [major, minor, patch] = parts;
  if (major === undefined) return true;
  const low: Version = [major, minor ?? 0, patch ?? 0];
  const isFrom = compare(version, low) >= 0;
  const isBefore = (next: Version) => compare(version, next) < 0;
  const nextMajor: Version = [major + 1, 0, 0];
  const nextMinor: Version = minor === undefined ? nextMajor : [major, minor + 1, 0];
  const next: Version = minor === undefined || patch === undefined ? nextMinor : [major, minor, patch + 1];
  if (operator === '>=') return isFrom;
  if (operator === '<') return !isFrom;
  if (operator === '>') return !isBefore(next);
  if (operator === '<=') return isBefore(next);
  if (operator === '=') return isFrom && isBefore(next);
  if (operator !== '^') return isFrom && isBefore(nextMinor);
  // Up to the next change of the first part that is not zero.
  if (major > 0 || minor === undefined) return isFrom && isBefore(nextMajor);
  return isFrom && isBefore(minor > 0 ? nextMinor : next);
}

function parse(version: string): Version | undefined {
  const [, major, minor, patch] = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor), Number(patch)];
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

import Range from 'semver/classes/range.js';
import compare from 'semver/functions/compare.js';
import valid from 'semver/functions/valid.js';
import gtr from 'semver/ranges/gtr.js';
import { codeNames } from './known.ts';

/** Versions of Node.js that a text asks for. */
export interface NodeRange {
  has(version: string): boolean;
  /** the only version that the text allows; null if there are several */
  exact: string | null;
  /** Returns true if all versions of the range are older than `version`. */
  isBefore(version: string): boolean;
}

/** Limit of the length of a request. npm and nvm know no longer ones, and parsing takes time. */
const maxLength = 200;

/** Words of version managers for the newest version. */
const newest = new Set(['', 'x', 'node', 'latest', 'current', 'stable', 'unstable', 'system', 'default']);

/**
 * Parses a request for Node.js: a version such as `v20.11.1`, a range such as `20.x` or `>=18 <23`, a word of a version manager
 * such as `node`, `lts/*` or `lts/iron`. `lts/*` allows every LTS line. Returns undefined for any other text.
 */
export function parseRange(text: string): NodeRange | undefined {
  if (text.length > maxLength) return undefined;
  const range = toRange(text.trim());
  if (range === undefined) return undefined;
  return {
    has: (version) => range.test(version),
    exact: valid(range.raw),
    isBefore: (version) => gtr(version, range),
  };
}

/** Compares two versions, the older first. */
export const compareVersions: (a: string, b: string) => number = compare;

function toRange(text: string): Range | undefined {
  const word = text.toLowerCase();
  if (newest.has(word)) return new Range('*');
  if (word === 'lts' || word === 'lts/*') return longTerm();
  const back = /^lts\/-(\d)$/.exec(word)?.[1];
  if (back !== undefined) return longTerm(Number(back));
  // nvm writes `lts/iron`, asdf `lts-iron`.
  const name = word.replace(/^lts[/-]/, '');
  const line = Object.hasOwn(codeNames, name) ? codeNames[name] : undefined;
  try {
    return new Range(line === undefined ? text : `${line}.x`);
  } catch {
    return undefined;
  }
}

/** Returns the range of all LTS lines, or of the line `back` lines before the newest one. */
function longTerm(back?: number): Range | undefined {
  const lines = Object.values(codeNames).map((line) => `${line}.x`);
  const text = back === undefined ? lines.join(' || ') : lines.at(-1 - back);
  return text === undefined ? undefined : new Range(text);
}

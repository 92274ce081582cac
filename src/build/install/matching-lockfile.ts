import { satisfies, validRange } from 'semver';
import type { Manifest } from '../../config/package-manifest.ts';
import type { Lockfile } from './package-manager.ts';

/** Limit of the length of a lockfile that is compared: the time grows with it. */
const maxLength = 8 * 1024 ** 2;

/**
 * Returns true if a lockfile has all dependencies of package.json with their ranges; undefined if Sluice cannot compare it. The time
 * is linear in the length of the lockfile.
 */
export function matchesManifest({ name, content }: Lockfile, manifest: Manifest): boolean | undefined {
  if (content.length > maxLength) return undefined;
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  const wanted = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
  return name.endsWith('.json') ? npmLocks(content, wanted) : readers[name]?.(content, wanted);
}

/** Dependencies of package.json with their ranges. */
type Wanted = [dependency: string, range: string][];

const readers: Record<string, (content: string, wanted: Wanted) => boolean> = {
  'yarn.lock': yarnLocks,
  'pnpm-lock.yaml': pnpmLocks,
};

function npmLocks(content: string, wanted: Wanted): boolean | undefined {
  const lock = parsed(content);
  if (!isRecord(lock)) return undefined;
  const { packages = {}, dependencies = {} } = lock;
  if (!isRecord(packages) || !isRecord(dependencies)) return undefined;
  const top = packages[''];
  if (top === undefined) return npm6Locks(dependencies, wanted);
  if (!isRecord(top)) return undefined;
  const names = ['dependencies', 'devDependencies', 'optionalDependencies'];
  const parts = names.map((name) => top[name]).filter((part) => part !== undefined);
  if (!parts.every(isRecord)) return undefined;
  return wanted.every(([dependency, range]) => parts.some((part) => part[dependency] === range));
}

function parsed(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Limits of ranges in characters, each and together. A range counts as `least` or more: semver parses each. */
const ranges = { each: 256, together: 16_384, least: 16 };

/** Compares with the first format of package-lock.json, which has versions and no ranges. */
function npm6Locks(versions: Record<string, unknown>, wanted: Wanted): boolean | undefined {
  const lengths = wanted.map(([, range]) => Math.max(range.length, ranges.least));
  if (lengths.some((length) => length > ranges.each)) return undefined;
  if (lengths.reduce((sum, length) => sum + length, 0) > ranges.together) return undefined;
  for (const [dependency, range] of wanted) {
    if (!Object.hasOwn(versions, dependency)) return false;
    const entry = versions[dependency];
    if (!isRecord(entry) || typeof entry['version'] !== 'string') return undefined;
    if (validRange(range) !== null && !satisfies(entry['version'], range)) return false;
  }
  return true;
}

/** Lines such as `"ms@^2.0.0", "ms@^2.1.1":`, with `npm:` before the range since yarn 2, which writes `? ` before a long line. */
function yarnLocks(content: string, wanted: Wanted): boolean {
  const lines = linesOf(content).filter((line) => /^\? |^\S.*:$/.test(line));
  const keys = lines.flatMap((line) => line.replace(/^\? |:$/g, '').split(', '));
  const all = new Set(keys.map((key) => key.replace(/^"|"$/g, '').replace('@npm:', '@')));
  return wanted.every(([dependency, range]) => all.has(`${dependency}@${range.replace(/^npm:/, '')}`));
}

/** Lines such as `ms:` and `specifier: ^2.0.0`, or `ms: ^2.0.0` in older formats. */
function pnpmLocks(content: string, wanted: Wanted): boolean {
  const all = new Set<string>();
  let dependency = '';
  for (const line of linesOf(content)) {
    if (/^(?:packages|snapshots):/.test(line)) break;
    const end = `${line} `.indexOf(': ');
    if (end === -1) continue;
    const key = unquoted(line.slice(0, end).trim());
    const value = unquoted(line.slice(end + 1).trim());
    if (value === '') dependency = key;
    else all.add(`${key === 'specifier' ? dependency : key}@${value}`);
  }
  return wanted.every(([name, range]) => all.has(`${name}@${range}`));
}

/** Returns the lines, which end as on Linux or as on Windows. */
function linesOf(content: string): string[] {
  return content.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
}

function unquoted(text: string): string {
  const quote = text.at(0) ?? '';
  return /^['"]$/.test(quote) && text.endsWith(quote) ? text.slice(1, -1) : text;
}

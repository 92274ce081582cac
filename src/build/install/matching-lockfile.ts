import { satisfies, validRange } from 'semver';
import type { Manifest } from '../../config/package-manifest.ts';
import type { Lockfile } from './package-manager.ts';

/** Limit of the length of a lockfile that is compared: the time grows with it. */
const maxLength = 8 * 1024 ** 2;

/**
 * Returns true if a lockfile has all dependencies of package.json with their ranges. Returns false also for a format that Sluice
 * cannot compare. Reads each line once.
 */
export function matchesManifest({ name, content }: Lockfile, manifest: Manifest): boolean {
  if (content.length > maxLength) return false;
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  const wanted = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
  const locks = name.endsWith('.json') ? locksOfNpm(content) : readers[name]?.(content);
  return locks !== undefined && wanted.every(([dependency, range]) => locks(dependency, range));
}

/** Returns true if the lockfile has a dependency for its range in package.json. */
type Locks = (dependency: string, range: string) => boolean;

const readers: Record<string, (content: string) => Locks> = {
  'yarn.lock': locksOfYarn,
  'pnpm-lock.yaml': locksOfPnpm,
};

/** The parts of package-lock.json that Sluice compares. */
interface NpmLock {
  packages?: Record<string, Record<string, Record<string, string> | undefined> | undefined>;
  /** in format 1 */
  dependencies?: Record<string, { version?: string } | undefined>;
}

function locksOfNpm(content: string): Locks | undefined {
  let lock: NpmLock | null;
  try {
    lock = JSON.parse(content);
  } catch {
    return undefined;
  }
  const top = lock?.packages?.[''];
  if (top !== undefined) {
    const all = { ...top['dependencies'], ...top['devDependencies'], ...top['optionalDependencies'] };
    return (dependency, range) => all[dependency] === range;
  }
  return (dependency, range) => {
    const version = lock?.dependencies?.[dependency]?.version;
    return typeof version === 'string' && (validRange(range) === null || satisfies(version, range));
  };
}

/** Lines such as `"ms@^2.0.0", "ms@^2.1.1":`, with `npm:` before the range since yarn 2. */
function locksOfYarn(content: string): Locks {
  const lines = content.split('\n').filter((line) => /^\S.*:$/.test(line));
  const keys = lines.flatMap((line) => line.slice(0, -1).split(', '));
  const all = new Set(keys.map((key) => key.replace(/^"|"$/g, '').replace('@npm:', '@')));
  return (dependency, range) => all.has(`${dependency}@${range.replace(/^npm:/, '')}`);
}

/** Lines such as `ms:` and `specifier: ^2.0.0`, or `ms: ^2.0.0` in older formats. */
function locksOfPnpm(content: string): Locks {
  const all = new Set<string>();
  let dependency = '';
  for (const line of content.split('\n')) {
    const [, key = '', value = ''] = /^ {2,8}(\S+): *(\S.*)?$/.exec(line) ?? [];
    if (value === '') dependency = unquoted(key);
    else all.add(`${key === 'specifier' ? dependency : unquoted(key)}@${unquoted(value)}`);
    if (/^(?:packages|snapshots):/.test(line)) break;
  }
  return (name, range) => all.has(`${name}@${range}`);
}

function unquoted(text: string): string {
  return text.replace(/^(['"])(.*)\1$/, '$2');
}

import { readAppTextIfAny } from '../system/fs/read-file.ts';

/** Versions of packages in a lockfile. */
export interface Locked {
  /** name of the file */
  lockfile: string;
  /** each name and version once, in the order of the file */
  versions: (readonly [name: string, version: string])[];
}

/** Lockfiles, and a pattern for the name and version of one of some packages. */
const lockfiles: [name: string, pattern: (names: string) => string][] = [
  ...['package-lock.json', 'npm-shrinkwrap.json'].map((name): [string, (names: string) => string] => [
    name,
    (names) => `"(?:[^"\\n]*node_modules/)?(${names})": \\{\\s*"version": "([^"]+)"`,
  ]),
  ['pnpm-lock.yaml', (names) => `^ +'?/?(${names})[@/](\\d[\\w.-]*)`],
  ['yarn.lock', (names) => `^"?(${names})@.*:\\n\\s+version:? "?([^"\\n]+)`],
  ['bun.lock', (names) => `"(${names})": \\["\\1@([^"]+)"`],
];

/** Limit of the size of a lockfile. The search takes about 20 ms for each 10 MB. */
const maxLockfileBytes = 16 * 1024 ** 2;
/** Limit of the versions. A real lockfile has a few. */
const maxVersions = 200;

/**
 * Returns the versions of packages in the lockfile of a directory; undefined if there is no lockfile.
 * @param names of packages, without characters that have a meaning in regular expressions
 */
export async function readLocked(directory: string, names: string[]): Promise<Locked | undefined> {
  for (const [lockfile, pattern] of lockfiles) {
    // The install reports a lockfile that cannot be read.
    const text = await readAppTextIfAny(directory, lockfile, maxLockfileBytes);
    if (text === undefined) continue;
    const versions = new Map<string, readonly [string, string]>();
    for (const [, name = '', version = ''] of text.matchAll(new RegExp(pattern(names.join('|')), 'gm'))) {
      versions.set(`${name} ${version}`, [name, version]);
      if (versions.size === maxVersions) break;
    }
    return { lockfile, versions: [...versions.values()] };
  }
  return undefined;
}

import { AppError } from '../../errors/app-error.ts';
import type { Lockfile } from './package-manager.ts';

export type Manager = 'npm' | 'pnpm' | 'yarn-classic' | 'yarn-berry' | 'bun';

/** Package managers in the words of package.json, where yarn is one. */
export type Family = 'npm' | 'pnpm' | 'yarn' | 'bun';

/**
 * Versions for apps that name none. Not the newest: npm 12 skips install scripts of native addons unless each is allowed, and
 * pnpm 11 fails in that case. A system-wide install includes this version of npm (config/runtime.sha256).
 */
export const defaultVersions: Record<Manager, string> = {
  npm: '11.19.1',
  pnpm: '10.34.9',
  'yarn-classic': '1.22.22',
  'yarn-berry': '4.18.1',
  // Reads the lockfiles of all earlier versions.
  bun: '1.4.5',
};

/** Node.js that the default version of npm runs on, and the version of npm for others. npm 10 reads and writes the same lockfiles. */
const npmOfNode = { range: '^20.17.0 || >=22.9.0', otherwise: '10.9.9' };

/** Returns the version of a package manager for an app on a version of Node.js: the given one, unless that is the default and does not run. */
export async function versionForNode(manager: Manager, version: string, node: string): Promise<string> {
  if (manager !== 'npm' || version !== defaultVersions.npm || node === process.versions.node) return version;
  // Loaded here to save memory: most apps run on the Node.js of Sluice.
  const { default: satisfies } = await import('semver/functions/satisfies.js');
  return satisfies(node, npmOfNode.range) ? version : npmOfNode.otherwise;
}

/** Formats of lockfiles, and the version that writes each: a frozen install by a later version might refuse to migrate it. */
const formats: { [name in Manager]?: { pattern: RegExp; versions: Record<string, string> } } = {
  pnpm: {
    pattern: /^lockfileVersion: *['"]?(\d+)/m,
    versions: { '5': '7.33.7', '6': '8.15.9', '9': defaultVersions.pnpm },
  },
  // The `version` of `__metadata`, tested with each release.
  'yarn-berry': {
    pattern: /^ {2}version: (\d+)$/m,
    versions: {
      '4': '3.0.2',
      '5': '3.1.1',
      '6': '3.8.7',
      '8': '4.13.0',
      '9': '4.14.1',
      '10': defaultVersions['yarn-berry'],
    },
  },
};

/**
 * Returns the package manager and its version: the given version, else the version that writes this format of lockfile.
 * @throws AppError `unsupported_package_manager`
 */
export function chooseVersion(
  family: Family,
  version: string | undefined,
  lockfile: Lockfile | null,
): { manager: Manager; version: string } {
  const manager = family === 'yarn' ? yarnManager(version, lockfile) : family;
  return { manager, version: version ?? lockfileVersion(manager, lockfile) ?? defaultVersions[manager] };
}

function yarnManager(version: string | undefined, lockfile: Lockfile | null): 'yarn-classic' | 'yarn-berry' {
  const isClassic =
    version === undefined
      ? /^# yarn lockfile v1$/m.test(lockfile?.content ?? '')
      : /^[~^]?[01](?:\.|$)/.test(version);
  return isClassic ? 'yarn-classic' : 'yarn-berry';
}

function lockfileVersion(manager: Manager, lockfile: Lockfile | null): string | undefined {
  const known = formats[manager];
  if (lockfile === null || known === undefined) return undefined;
  const { name, content } = lockfile;
  if (manager === 'yarn-berry') {
    // Some projects start with an empty lockfile; the first install writes it.
    if (content.trim() === '') return undefined;
    // Only yarn 4.0 omits the cache key from checksums. yarn 2 shares a format with yarn 3.0.
    if (/^ {2}version: 8$/m.test(content) && /^ {2}checksum: [0-9a-f]+$/m.test(content)) return '4.0.2';
    if (/^ {2}version: 4\n {2}cacheKey: 7$/m.test(content)) return '2.4.2';
  }
  const format = known.pattern.exec(content)?.[1];
  return known.versions[format ?? ''] ?? unknownFormat(name, format);
}

function unknownFormat(name: string, format: string | undefined): never {
  throw new AppError(
    'unsupported_package_manager',
    format === undefined
      ? `${name} does not name its format`
      : `${name} has format ${format}, and Sluice does not know the version that writes this format`,
    { hint: 'Name the package manager with its version in "packageManager" of package.json.' },
  );
}

import { AppError } from '../../errors/app-error.ts';
import type { Lockfile } from './package-manager.ts';

export type Manager = 'npm' | 'pnpm' | 'yarn-classic' | 'yarn-berry';

/**
 * Where nothing says otherwise. Not simply the newest: npm 12 does not run the install scripts that native addons are
 * built by unless each is allowed, and pnpm 11 fails where one is not. That of npm is the one that a system-wide install
 * carries (config/runtime.sha256): it need not be fetched there.
 */
export const defaultVersions: Record<Manager, string> = {
  npm: '11.19.1',
  pnpm: '10.34.9',
  'yarn-classic': '1.22.22',
  'yarn-berry': '4.18.1',
};

/** By `lockfileVersion`. Each writes that format: a frozen install by any later one might refuse to migrate it. */
const pnpmVersions: Record<string, string> = { '5': '7.33.7', '6': '8.15.9', '9': defaultVersions.pnpm };

/**
 * By `version` of `__metadata`, tried out with each release: a later yarn writes the file another way, and
 * `--immutable` then fails.
 */
const berryVersions: Record<string, string> = {
  '4': '3.0.2',
  '5': '3.1.1',
  '6': '3.8.7',
  '8': '4.13.0',
  '9': '4.14.1',
  '10': defaultVersions['yarn-berry'],
};

export function managerOfYarn(version: string): 'yarn-classic' | 'yarn-berry' {
  return /^[~^]?[01](?:\.|$)/.test(version) ? 'yarn-classic' : 'yarn-berry';
}

/**
 * The version that writes lockfiles of this format.
 * @throws AppError `unsupported_package_manager`
 */
export function versionForLockfile(
  family: 'npm' | 'pnpm' | 'yarn',
  lockfile: Lockfile,
): { manager: Manager; version: string } {
  if (family === 'npm') return { manager: 'npm', version: defaultVersions.npm };
  if (family === 'pnpm') return { manager: 'pnpm', version: pnpmVersion(lockfile) };
  if (/^# yarn lockfile v1$/m.test(lockfile.content)) {
    return { manager: 'yarn-classic', version: defaultVersions['yarn-classic'] };
  }
  return { manager: 'yarn-berry', version: berryVersion(lockfile) };
}

function pnpmVersion({ name, content }: Lockfile): string {
  const format = /^lockfileVersion: *['"]?(\d+)/m.exec(content)?.[1];
  const version = format === undefined ? undefined : pnpmVersions[format];
  if (version !== undefined) return version;
  throw unknownFormat(name, format);
}

function berryVersion({ name, content }: Lockfile): string {
  // Empty: a project that starts with yarn has its lockfile written by the first install.
  if (content.trim() === '') return defaultVersions['yarn-berry'];
  // The first yarn 4, and it alone, left out of checksums which cache they are of; yarn 2 shares a format with 3.0.
  if (/^ {2}version: 8$/m.test(content) && /^ {2}checksum: [0-9a-f]+$/m.test(content)) return '4.0.2';
  if (/^ {2}version: 4\n {2}cacheKey: 7$/m.test(content)) return '2.4.2';
  const format = /^ {2}version: (\d+)$/m.exec(content)?.[1];
  const version = format === undefined ? undefined : berryVersions[format];
  if (version !== undefined) return version;
  throw unknownFormat(name, format);
}

function unknownFormat(name: string, format: string | undefined): AppError {
  return new AppError(
    'unsupported_package_manager',
    format === undefined
      ? `${name} does not say in which format it is written`
      : `${name} is written in format ${format}, and it is not known which version writes it`,
    { hint: 'Name the package manager with its version in "packageManager" of package.json.' },
  );
}

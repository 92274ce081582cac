import type { Manifest } from '../config/package-manifest.ts';
import type { Notice } from '../protocol/runner.ts';
import { readLocked } from './locked-packages.ts';

/**
 * Packages that hash with MD4, which the OpenSSL of Node.js 17 and later refuses, and their versions. The
 * versions of webpack around both upper ends were tested with Node.js 26. Each react-scripts pins a webpack.
 */
const usersOfMd4: Record<string, string> = {
  webpack: '>=4.0.0 <4.47.0 || >=5.0.0 <5.61.0',
  'react-scripts': '>=2.0.0 <5.0.0',
};

/** Limit of the length of a version or a range. */
const maxLength = 256;

/** Option of Node.js that allows MD4. */
const option = '--openssl-legacy-provider';

/**
 * Returns the package of an app whose build hashes with MD4, and where it is named; null if none is known. Looks in the lockfile, or
 * among the dependencies if there is none.
 * @param directory in which the dependencies are installed
 */
export async function findUserOfMd4(directory: string, manifest: Manifest): Promise<string | null> {
  const names = Object.keys(usersOfMd4);
  const locked = await readLocked(directory, names);
  const dependencies = { ...manifest.devDependencies, ...manifest.dependencies };
  const named = Object.entries(dependencies).filter(([name]) => names.includes(name));
  const versions = locked?.versions ?? named;
  if (versions.length === 0) return null;
  const { default: validRange } = await import('semver/ranges/valid.js');
  const { default: subset } = await import('semver/ranges/subset.js');
  const isUser = ([name, text]: readonly [string, string]) => {
    const range = text.length > maxLength ? null : validRange(text);
    return range !== null && subset(range, usersOfMd4[name] ?? '');
  };
  const user = versions.find(isUser);
  return user === undefined ? null : `${user.join(' ')} in ${locked?.lockfile ?? 'package.json'}`;
}

/** Returns the variables with which a build may hash with MD4. @param env variables of the app */
export function allowMd4(env: Record<string, string>): Record<string, string> {
  return { NODE_OPTIONS: [env['NODE_OPTIONS'], option].filter(Boolean).join(' ') };
}

/** Returns the notice for a build that hashes with MD4. @param user see `findUserOfMd4` */
export function md4Notice(user: string): Notice {
  return {
    code: 'md4_allowed',
    message: `${user} uses MD4, which OpenSSL 3 refuses: the build runs with NODE_OPTIONS=${option}`,
    hint: 'Update to webpack 5.61 or later, or react-scripts 5.',
  };
}

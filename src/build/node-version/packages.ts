import type { Manifest } from '../../config/package-manifest.ts';
import type { NodeRequest } from '../../releases/release.ts';
import { readLocked } from '../locked-packages.ts';

interface Limit {
  /** versions of the package, as a range */
  versions: string;
  /** versions of Node.js that these versions of the package run on */
  node: string;
}

/**
 * Packages that fail on newer versions of Node.js and do not say so in their manifest. Each row was tested with the headers of
 * these versions, except node-sass, whose README has a table.
 */
const limits: Record<string, Limit[]> = {
  // Uses SlowBuffer, which Node.js 25 has removed.
  'buffer-equal-constant-time': [{ versions: '<=1.0.1', node: '<25' }],
  // Use parts of V8 that have been removed.
  'better-sqlite3': [
    { versions: '<9.6.0', node: '<22' },
    { versions: '<11.3.0', node: '<24' },
    { versions: '<12.8.0', node: '<25' },
  ],
  'node-sass': [
    { versions: '<9.0.0', node: '<20' },
    { versions: '<10.0.0', node: '<21' },
  ],
};

/** Packages that depend on one of the above. Show without a lockfile that the package is needed. */
const dependents: Record<string, string> = {
  jsonwebtoken: 'buffer-equal-constant-time',
  jws: 'buffer-equal-constant-time',
  jwa: 'buffer-equal-constant-time',
  'express-jwt': 'buffer-equal-constant-time',
  'passport-jwt': 'buffer-equal-constant-time',
  'koa-jwt': 'buffer-equal-constant-time',
  '@nestjs/jwt': 'buffer-equal-constant-time',
  'google-auth-library': 'buffer-equal-constant-time',
  googleapis: 'buffer-equal-constant-time',
  'firebase-admin': 'buffer-equal-constant-time',
};

/**
 * Returns requests for a Node.js for packages that fail on newer versions: one for each row above. Finds the packages in the
 * lockfile, or among the dependencies if there is none.
 * @param directory in which the dependencies are installed
 */
export async function packageRequests(
  directory: string,
  manifest: Manifest | undefined,
): Promise<NodeRequest[]> {
  const locked = await readLocked(directory, Object.keys(limits));
  if (locked !== undefined) return requestsFor(locked.versions, locked.lockfile);
  const dependencies = Object.keys({ ...manifest?.dependencies, ...manifest?.optionalDependencies });
  const dependent = dependencies.find((name) => Object.hasOwn(dependents, name));
  if (dependent === undefined) return [];
  // Without a lockfile, the newest version is installed.
  const [newest] = limits[dependents[dependent] as string]?.slice(-1) ?? [];
  return newest === undefined
    ? []
    : [{ from: `${dependents[dependent]} of ${dependent}`, text: newest.node }];
}

async function requestsFor(
  versions: readonly (readonly [name: string, version: string])[],
  lockfile: string,
): Promise<NodeRequest[]> {
  const { default: satisfies } = await import('semver/functions/satisfies.js');
  const requests = new Map<Limit, NodeRequest>();
  for (const [name, version] of versions) {
    const limit = limits[name]?.find((each) => satisfies(version, each.versions));
    if (limit !== undefined && !requests.has(limit))
      requests.set(limit, { from: `${name} ${version} in ${lockfile}`, text: limit.node });
  }
  return [...requests.values()];
}

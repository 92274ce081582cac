import { join } from 'node:path';
import type { Environment } from '../apps/environment.ts';
import { keptDirectory, runAsApp } from '../apps/files.ts';
import { readKeptCaches } from '../build/reuse/build-caches.ts';
import { readAllKept } from '../build/reuse/kept-packages.ts';
import type { EnvironmentId } from '../config/paths.ts';
import { freeBytes, writeJsonAtomic } from '../system/fs/files.ts';
import type { Deployment } from './deployment.ts';

/** Largest packages that an environment keeps, in bytes. */
const maxPackageBytes = 4 * 1024 ** 3;

/** Something that an environment keeps for its next deploy. */
export interface KeptThing extends EnvironmentId {
  kind: 'packages' | 'caches';
  /** directory of the install, relative to the release; '' for the release itself, and for caches */
  directory: string;
  /** release that has made it */
  release: number;
  sizeBytes: number;
}

/** Returns where an environment keeps packages and caches of builds for its next deploy. */
export async function keptStores({ environment, number }: Deployment, isIgnored: boolean) {
  const { appliance, paths } = environment;
  const directory = await keptDirectory(environment);
  const space = async () => (await freeBytes(paths.directory)) - appliance.settings.minFreeBytes;
  const common = {
    ...{ release: number, isIgnored },
    space: async () => Math.max(0, Math.min(maxPackageBytes, await space())),
  };
  return {
    packageStore: { ...common, record: paths.keptPackages, directory: join(directory, 'packages') },
    cacheStore: { ...common, record: paths.keptCaches, directory: join(directory, 'builds') },
  };
}

/** Lists what an environment keeps for its next deploy. */
export async function listKept({ id, paths }: Pick<Environment, 'id' | 'paths'>): Promise<KeptThing[]> {
  const packages = await readAllKept({ record: paths.keptPackages });
  const caches = await readKeptCaches({ record: paths.keptCaches });
  return [
    ...Object.entries(packages).map(([directory, { release, bytes }]) => ({
      ...{ ...id, kind: 'packages' as const, directory, release, sizeBytes: bytes },
    })),
    ...(caches
      ? [{ ...id, kind: 'caches' as const, directory: '', release: caches.release, sizeBytes: caches.bytes }]
      : []),
  ];
}

/** Removes what an environment keeps for its next deploy. @returns what was removed */
export async function clearKept(environment: Environment): Promise<KeptThing[]> {
  const { paths } = environment;
  const kept = await listKept(environment);
  if (kept.length === 0) return kept;
  // The records first: without a record, nothing uses the files.
  await writeJsonAtomic(paths.keptPackages, {});
  await writeJsonAtomic(paths.keptCaches, {});
  const directory = await keptDirectory(environment);
  const remove = '[ ! -e "$1" ] || { chmod -R u+rwX -- "$1" && rm -rf -- "$1"; }';
  const { code, stderr } = await runAsApp(
    environment,
    ['/bin/sh', '-c', remove, 'sh', directory],
    paths.directory,
  );
  if (code !== 0) throw new Error(`kept packages were not removed (${code}): ${stderr}`);
  return kept;
}

/**
 * Removes what an environment keeps if a deploy fails after its packages were installed, and is not cancelled: packages that do not work
 * must not serve the next deploy, too.
 */
export function keepIfWorking(deployment: Deployment): AsyncDisposable & { works(): void } {
  let isWorking = false;
  return {
    works() {
      isWorking = true;
    },
    async [Symbol.asyncDispose]() {
      const { environment, signal } = deployment;
      if (isWorking || signal.aborted) return;
      try {
        const removed = await clearKept(environment);
        if (removed.length > 0)
          deployment.log(
            'kept packages and caches are removed: the next deploy installs and builds without them',
          );
      } catch (error) {
        // The failure of the deploy is more important.
        environment.appliance.log.error('kept packages were not removed', { app: environment.name, error });
      }
    },
  };
}

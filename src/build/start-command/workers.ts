import { join } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { packagesOf } from '../../config/workspaces.ts';
import { sqliteSchema } from './prisma-schema.ts';
import { workerRules } from './worker-rules.ts';

export interface WorkerCount {
  count: number;
  /** why `auto` gives less than one worker per core, and how to change that; null otherwise */
  reason: string | null;
}

/**
 * Returns the number of workers of the app in `directory` on a machine with `cores`.
 * @param app directory of the package that starts, relative to `directory`
 */
export async function resolveWorkers(
  { workers, overlap }: Pick<AppSettings, 'workers' | 'overlap'>,
  directory: string,
  cores: number,
  app = '',
): Promise<WorkerCount> {
  if (workers === 'max') return { count: cores, reason: null };
  if (typeof workers === 'number') {
    return { count: workers > 0 ? workers : Math.max(1, cores + workers), reason: null };
  }
  const why = cores === 1 ? undefined : await reasonForOneWorker(directory, app, overlap);
  if (why === undefined) return { count: cores, reason: null };
  return {
    count: 1,
    reason: `1 worker, not ${cores}: ${why}. If the app supports several workers, set "workers" in sluice.json: "max" is one per core.`,
  };
}

/** Returns a clause that names the package or the file that decides; undefined if the app may use several workers. */
async function reasonForOneWorker(
  directory: string,
  app: string,
  overlap: boolean,
): Promise<string | undefined> {
  if (!overlap) return 'with "overlap": false, no two workers run at once';
  const packages = await packagesOf(directory, app);
  const dependencies = new Set(
    packages.flatMap(({ manifest }) =>
      Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }),
    ),
  );
  const dependencyOf = (names: string) => names.split(' ').find((name) => dependencies.has(name));
  for (const { packages, because, unless = '' } of workerRules) {
    const found = dependencyOf(packages);
    if (found !== undefined && dependencyOf(unless) === undefined) return `${found} ${because}`;
  }
  for (const at of new Set([app, ...packages.map((each) => each.directory)])) {
    const schema = await sqliteSchema(join(directory, at));
    if (schema !== undefined)
      return `${join(at, schema)} names an SQLite database, which one process should write`;
  }
  return undefined;
}

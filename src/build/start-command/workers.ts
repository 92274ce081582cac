import type { AppSettings } from '../../config/app-settings.ts';
import { readManifest } from '../../config/package-manifest.ts';
import { sqliteSchema } from './prisma-schema.ts';
import { workerRules } from './worker-rules.ts';

export interface WorkerCount {
  count: number;
  /** why `auto` gives less than one worker per core, and how to change that; null otherwise */
  reason: string | null;
}

/** Returns the number of workers of the app in `directory` on a machine with `cores`. */
export async function resolveWorkers(
  { workers, overlap }: Pick<AppSettings, 'workers' | 'overlap'>,
  directory: string,
  cores: number,
): Promise<WorkerCount> {
  if (workers === 'max') return { count: cores, reason: null };
  if (typeof workers === 'number') {
    return { count: workers > 0 ? workers : Math.max(1, cores + workers), reason: null };
  }
  const why = cores === 1 ? undefined : await reasonForOneWorker(directory, overlap);
  if (why === undefined) return { count: cores, reason: null };
  return {
    count: 1,
    reason: `1 worker, not ${cores}: ${why}. If the app supports several workers, set "workers" in sluice.json: "max" is one per core.`,
  };
}

/** Returns a clause that names the package or the file that decides; undefined if the app may use several workers. */
async function reasonForOneWorker(directory: string, overlap: boolean): Promise<string | undefined> {
  if (!overlap) return 'with "overlap": false, no two workers run at once';
  const manifest = await readManifest(directory);
  const dependencies = new Set(Object.keys({ ...manifest?.dependencies, ...manifest?.optionalDependencies }));
  const dependencyOf = (names: string) => names.split(' ').find((name) => dependencies.has(name));
  for (const { packages, because, unless = '' } of workerRules) {
    const found = dependencyOf(packages);
    if (found !== undefined && dependencyOf(unless) === undefined) return `${found} ${because}`;
  }
  const schema = await sqliteSchema(directory);
  return schema && `${schema} names an SQLite database, which one process should write`;
}

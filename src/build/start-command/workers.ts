import { join, relative } from 'node:path';
import type { AppSettings } from '../../config/app-settings.ts';
import { packagesOf } from '../../config/workspaces.ts';
import { AppError } from '../../errors/app-error.ts';
import { changesCachedPages } from './next-cache.ts';
import { sqliteSchema } from './prisma-schema.ts';
import { stateInSources } from './state-in-sources.ts';
import { type WorkerRule, workerRules } from './worker-rules.ts';

export interface WorkerCount {
  count: number;
  /** why `auto` gives less than one worker per core, and how to change that; null otherwise */
  reason: string | null;
}

/**
 * Returns the number of workers of the app in `directory`, which has workers, on a machine with `cores`.
 * @param app directory of the package that starts, relative to `directory`
 * @param files files that may start the app, relative to `directory`
 */
export async function resolveWorkers(
  settings: Pick<AppSettings, 'workers' | 'overlap' | 'affinity' | 'start'>,
  directory: string,
  cores: number,
  app = '',
  files: string[] = [],
): Promise<WorkerCount> {
  const { workers } = settings;
  if (workers === 'max') return { count: cores, reason: null };
  if (typeof workers === 'number') {
    return { count: workers > 0 ? workers : Math.max(1, cores + workers), reason: null };
  }
  const obstacle = cores === 1 ? undefined : await findObstacle(settings, directory, app, files);
  if (obstacle === undefined) return { count: cores, reason: null };
  const { why, remedy } = obstacle;
  return { count: 1, reason: `1 worker, not ${cores}: ${why}. ${remedy}` };
}

/** @throws AppError `unsupported_start` if several workers in exec mode shall have clients of their own: they share a socket */
export function checkAffinity(
  { affinity }: Pick<AppSettings, 'affinity'>,
  isExec: boolean,
  workers: number,
): void {
  if (affinity === undefined || !isExec || workers === 1) return;
  const message = '"affinity" needs a start command that Sluice can run without a shell';
  const hint = 'In sluice.json, set "start" to "node FILE", or set "workers" to 1.';
  throw new AppError('unsupported_start', message, { hint });
}

interface Obstacle {
  /** clause that names the package, the file or the setting that decides */
  why: string;
  remedy: string;
}

const remedies = {
  any: 'If the app supports several workers, set "workers" in sluice.json: "max" is one per core.',
  perClient:
    'For one worker per core, set "affinity": "client" in sluice.json: then all requests of a client reach the same worker.',
};

/** Returns what prevents several workers; undefined if the app may use them. */
async function findObstacle(
  settings: Pick<AppSettings, 'overlap' | 'affinity' | 'start'>,
  directory: string,
  app: string,
  files: string[],
): Promise<Obstacle | undefined> {
  const { any } = remedies;
  const { overlap, affinity } = settings;
  if (!overlap) return { why: 'with "overlap": false, no two workers run at once', remedy: any };
  const packages = await packagesOf(directory, app);
  const dependencies = new Set(
    packages.flatMap(({ manifest }) =>
      Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }),
    ),
  );
  const found = workerRules.flatMap((rule) => obstacleOf(rule, dependencies));
  const isLasting = ({ remedy }: Obstacle) => remedy === any;
  // The other remedy must not lead to the next obstacle.
  const obstacle = found.find(isLasting) ?? (affinity === undefined ? found[0] : undefined);
  if (obstacle !== undefined) return obstacle;
  for (const at of new Set([app, ...packages.map((each) => each.directory)])) {
    const schema = await sqliteSchema(join(directory, at));
    if (schema !== undefined)
      return {
        why: `${join(at, schema)} names an SQLite database, which one process should write`,
        remedy: any,
      };
  }
  // The directory that starts may be one that the build makes.
  const home = join(directory, packages[0]?.directory ?? '');
  const entries = files.map((file) => relative(home, join(directory, file)));
  const isNext = packages[0]?.manifest.dependencies['next'] !== undefined;
  const why =
    (isNext ? changesCachedPages(home) : undefined) ?? (await stateInSources(home, settings, entries));
  return why === undefined ? undefined : { why, remedy: any };
}

function obstacleOf(
  { packages, because, unless = '', perClient }: WorkerRule,
  dependencies: Set<string>,
): Obstacle[] {
  const dependencyOf = (names: string) => names.split(' ').find((name) => dependencies.has(name));
  const name = dependencyOf(packages);
  if (name === undefined || dependencyOf(unless) !== undefined) return [];
  return [{ why: `${name} ${because}`, remedy: remedies[perClient ? 'perClient' : 'any'] }];
}

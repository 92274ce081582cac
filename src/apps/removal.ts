import { chmod, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type EnvironmentId,
  EnvironmentPaths,
  environmentName,
  isName,
  type Paths,
} from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { emptyDirectory, removeTree } from '../system/fs/remove-tree.ts';
import type { Appliance } from './appliance.ts';
import { appTreeMode, isOwnedByServer, removeAllButRecords, runAsApp } from './files.ts';

/** Prefix of directories in the home with the files of removed apps, which are still being deleted. */
const prefix = '.removing-';

/** Environment to remove; all environments of the app if `environment` is null. */
export interface RemovedId {
  app: string;
  environment: string | null;
}

/** Returns true if a removal concerns an environment. */
export function isRemoved({ app, environment }: RemovedId, id: EnvironmentId): boolean {
  return id.app === app && (environment === null || id.environment === environment);
}

/** Time in the newest path of `newRemoval`. */
let newest = 0;

/** Returns a path to which the files of an app are renamed, for `finishRemoval`. No two paths are the same. */
export function newRemoval({ home }: Paths, app: string): string {
  newest = Math.max(newest + 1, Date.now());
  return join(home, `${prefix}${app}-${newest}`);
}

/** Returns the paths of removals that have not finished: of one app, or of all. */
export async function unfinishedRemovals({ home }: Paths, app?: string): Promise<string[]> {
  const names = (await readdir(home)).filter((name) => name.startsWith(prefix));
  const paths = names.map((name) => join(home, name));
  return app === undefined ? paths : paths.filter((aside) => appOf(aside) === app);
}

function appOf(aside: string): string {
  return basename(aside).slice(prefix.length).replace(/-\d+$/, '');
}

/** Deletes the files of a removed app, and its users. @param aside path of the files */
export async function finishRemoval(appliance: Appliance, aside: string): Promise<void> {
  const { runner, paths, log } = appliance;
  const app = appOf(aside);
  const recreated: string[] = [];
  const environments = (await runner.hasUsers()) ? (await listDirectory(aside)).filter(isName) : [];
  for (const environment of environments) {
    const key = environmentName({ app, environment });
    // The user of an app that was created again, and all processes of that user, belong to the new app.
    if (await exists(paths.environment({ app, environment }).state)) {
      recreated.push(key);
      continue;
    }
    const directory = join(aside, environment);
    await removeFilesOfUser(appliance, key, directory);
    // Files that cannot be removed keep the user, so that no other app gets its uid.
    await emptyDirectory(directory, 'logs');
    await runner.call('forget', { key, aside: basename(aside) });
  }
  if (recreated.length === 0) await removeTree(aside);
  else {
    log.warn('files of a removed app stay until the new app is removed', { path: aside, recreated });
  }
}

/** Shell commands that remove all files of an app in its directory, and elsewhere. */
const removeAll = `
for each in shared home tmp releases/* staging/* staging/.[!.]*; do (cd -- "$each" && {${removeAllButRecords}
}); done
find /tmp /var/tmp /dev/shm -maxdepth 2 -xdev -user "$(id -u)" -prune -exec rm -rf -- {} +`;

/** Removes all files of an app's user, in `directory` and elsewhere. */
async function removeFilesOfUser(appliance: Appliance, key: string, directory: string): Promise<void> {
  const { releases, staging } = new EnvironmentPaths(directory);
  for (const parent of [releases, staging]) {
    for (const name of await listDirectory(parent)) {
      const tree = join(parent, name);
      if (!(await isOwnedByServer(tree))) await chmod(tree, appTreeMode);
    }
  }
  try {
    // Processes of the app go first: they could stop the shell that removes its files.
    await appliance.runner.call('endAll', { key });
    await runAsApp({ appliance, name: key }, ['/bin/sh', '-c', removeAll], directory);
  } catch (error) {
    // The app has had no user, or its user was removed after all its files.
    if (!(error instanceof AppError && error.code === 'user_refused')) throw error;
  }
}

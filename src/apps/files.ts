import { chmod, lstat, rmdir, unlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError, hasCode } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, listDirectory } from '../system/fs/files.ts';
import { emptyDirectory } from '../system/fs/remove-tree.ts';
import { usualPath } from '../system/process/run.ts';
import type { Environment } from './environment.ts';
import { type LinkedAssets, linkAssets } from './link-assets.ts';
import { linkShared } from './shared-paths.ts';

type Command = [string, ...string[]];

/**
 * Shell commands that remove everything in the working directory but the records of Sluice. Closed directories, such as
 * caches of some tools, are opened first. The commands run as the app's user, so its permissions apply.
 */
export const removeAllButRecords = `
find . -mindepth 1 -path ./.sluice -prune -o -type d ! -perm -u=rwx -exec chmod u+rwx {} \\;
find . -mindepth 1 -maxdepth 1 ! -name .sluice -exec rm -rf -- {} +`;

/** Shell command that removes files older than ten days, as Debian does in /tmp. */
const removeOld = 'find . -mindepth 1 -xdev -ctime +10 -delete';

/** Mode of the root of a tree whose group is the app's: see EnvironmentFiles in the runner. */
export const appTreeMode = 0o1770;
/** Number of attempts to empty a tree, in which processes of the app may still create files. */
const attempts = 3;

/** Time limits of commands as an app's user, in ms. A slow disk needs a while to remove many files. */
const timeouts = { remove: 10 * 60_000, share: 60_000 };

const linkProgram = fileURLToPath(new URL('link-assets.ts', import.meta.url));
const shareProgram = fileURLToPath(new URL('shared-paths.ts', import.meta.url));

/**
 * App whose files are changed. If each app has a user, most changes run as that user: an app could replace a checked path
 * by a link, and its own user gains nothing by that.
 */
type App = Pick<Environment, 'appliance' | 'name' | 'paths'>;

/** Creates an app's directories and user, and gives it the releases of a time when it had no user. */
export async function prepareFiles(app: App): Promise<void> {
  const { appliance, name: key, paths } = app;
  if (!(await appliance.runner.hasUsers())) return;
  const { releases, staging, shared, home, temporary } = paths;
  for (const directory of [releases, staging, shared, home, temporary]) {
    await ensurePrivateDirectory(directory);
  }
  await appliance.runner.call('prepare', { key });
  await runAsApp(app, ['/bin/sh', '-c', removeOld], temporary);
  for (const name of await listDirectory(releases)) {
    const tree = join(releases, name);
    if (/^[1-9]\d*$/.test(name) && (await isOwnedByServer(tree))) await giveToApp(app, tree);
  }
}

/** Gives a tree to the app's user, if it has one, who makes all further changes to it. */
export async function giveToApp({ appliance, name, paths }: App, tree: string): Promise<void> {
  if (!(await appliance.runner.hasUsers())) return;
  await appliance.runner.call('own', { key: name, tree: relative(paths.directory, tree) });
}

/** Removes everything in a release but the entry `except`. @throws AppError `files_obstructed` */
export async function emptyRelease(app: App, directory: string, except: string): Promise<void> {
  if (!(await app.appliance.runner.hasUsers())) return emptyDirectory(directory, except);
  if (await emptyOwnedByServer(app, directory, except)) return;
  const rest = async () => (await listDirectory(directory)).filter((name) => name !== except);
  for (let attempt = 1; (await rest()).length > 0; attempt += 1) {
    await chmod(directory, appTreeMode);
    await runAsApp(app, ['/bin/sh', '-c', removeAllButRecords], directory);
    // Closed, so that the app creates nothing more. Only direct entries are removed, so no link leads elsewhere.
    await chmod(directory, 0o700);
    for (const name of await rest()) {
      await removeEntry(join(directory, name)).catch((error: unknown) => {
        if (attempt === attempts) throw error;
      });
    }
  }
}

/** Returns the directory of what an app keeps for its next deploy: in the home of its user, or else in its caches. */
export async function keptDirectory({ appliance, paths }: Pick<App, 'appliance' | 'paths'>): Promise<string> {
  return (await appliance.runner.hasUsers()) ? join(paths.home, '.cache/sluice') : join(paths.cache, 'kept');
}

/** Links shared paths, see `linkShared`. An app with a user waits for `mayMove` once, for all its paths. */
export async function shareFiles(
  app: App,
  tree: string,
  paths: string[],
  live: string | undefined,
  mayMove: () => Promise<Disposable>,
): Promise<string[]> {
  const { runner, node } = app.appliance;
  const { shared } = app.paths;
  if (paths.length === 0 || !(await runner.hasUsers())) return linkShared(tree, shared, paths, live, mayMove);
  using _ = live === undefined ? undefined : await mayMove();
  const argv: Command = [node, shareProgram, JSON.stringify({ tree, shared, paths, live })];
  const { code, stdout, stderr } = await runAsApp(app, argv, tree, timeouts.share);
  const [line = ''] = stdout.split('\n');
  if (code !== 0 || line === '') throw new Error(`shared paths were not linked (${code}): ${stderr}`);
  const { adopted, error } = JSON.parse(line) as { adopted?: string[]; error?: unknown };
  if (adopted === undefined) throw AppError.from(error);
  return adopted;
}

/** Length of the file names that one run of a program gets, in bytes. The system limits arguments to 2 MiB. */
const maxArguments = 512 * 1024;

/** Links files of earlier releases into a tree, see `linkAssets`. */
export async function linkFiles(app: App, tree: string, files: string[]): Promise<LinkedAssets> {
  const { runner, node } = app.appliance;
  const { releases } = app.paths;
  if (!(await runner.hasUsers())) return linkAssets(tree, releases, files);
  const total: LinkedAssets = { linked: 0, refused: 0, code: null };
  for (let at = 0; at < files.length; ) {
    const start = at;
    for (let bytes = 0; at < files.length && bytes < maxArguments; at += 1)
      bytes += Buffer.byteLength(files[at] ?? '') + 16;
    const argv: Command = [node, linkProgram, tree, releases, ...files.slice(start, at)];
    const { code, stdout, stderr } = await runAsApp(app, argv, tree, timeouts.share);
    if (code !== 0) throw new Error(`files were not linked (${code}): ${stderr}`);
    const part = JSON.parse(stdout) as LinkedAssets;
    total.linked += part.linked;
    total.refused += part.refused;
    total.code = part.code ?? total.code;
  }
  return total;
}

/** Empties a tree that the app never got. Returns false if the app has a part of it, after an interrupted `giveToApp`. */
async function emptyOwnedByServer(app: App, directory: string, except: string): Promise<boolean> {
  if (!(await isOwnedByServer(directory))) return false;
  try {
    await emptyDirectory(directory, except);
    return true;
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM')) throw error;
    await giveToApp(app, directory);
    return false;
  }
}

/** Returns true if the app never got a tree: a tree that it got keeps the group of the app. */
export async function isOwnedByServer(directory: string): Promise<boolean> {
  return (await lstat(directory)).gid === process.getgid?.();
}

async function removeEntry(path: string): Promise<void> {
  try {
    await ifThere(lstat(path).then((stats) => (stats.isDirectory() ? rmdir(path) : unlink(path))));
  } catch (error) {
    throw new AppError('files_obstructed', `${path} could not be removed: ${(error as Error).message}`, {
      hint: 'A process of the app may still use it. Sluice tries again at its next start.',
      cause: error,
    });
  }
}

/** Runs a command as the user of an app. Returns its exit status, and the first MiB of each output. */
export async function runAsApp(
  { appliance: { runner }, name: user }: Pick<App, 'appliance' | 'name'>,
  argv: Command,
  directory: string,
  timeout = timeouts.remove,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const printed = { stdout: '', stderr: '' };
  const job = { argv, directory, env: { PATH: usualPath }, user, lowPriority: false, timeout };
  const onProgress = ({ stream, text }: { stream: 'stdout' | 'stderr'; text: string }) => {
    printed[stream] = (printed[stream] + text).slice(0, 1024 ** 2);
  };
  const { code } = await runner.call('job', { job }, { onProgress });
  return { code, ...printed };
}

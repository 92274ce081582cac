import { chmod, lstat, rmdir, unlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentPaths } from '../config/paths.ts';
import { AppError, hasCode, systemCode } from '../errors/app-error.ts';
import type { JobResult, JobSpec } from '../protocol/runner.ts';
import { ensurePrivateDirectory, listDirectory } from '../system/fs/files.ts';
import { emptyDirectory } from '../system/fs/remove-tree.ts';
import { usualPath } from '../system/process/run.ts';
import type { Appliance } from './appliance.ts';
import { linkShared } from './shared-paths.ts';

/**
 * Removes all in the working directory but our records; what is closed, as the caches of some tools are, is opened. The
 * commands are ours, and the user is the app's: what it may not remove stays.
 */
const emptyHere = `
find . -mindepth 1 -path ./.sluice -prune -o -type d ! -perm -u=rwx -exec chmod u+rwx {} \\;
find . -mindepth 1 -maxdepth 1 ! -name .sluice -exec rm -rf -- {} +`;

/** As the machine does in /tmp: what has been there for ten days. */
const sweepHere = 'find . -mindepth 1 -xdev -ctime +10 -delete';

/** The same of all that an app has in its directory, and elsewhere, when nothing of it is to remain. */
const emptyAll = `
for each in shared home tmp releases/* staging/* staging/.[!.]*; do (cd -- "$each" && {${emptyHere}
}); done
find /tmp /var/tmp /dev/shm -maxdepth 2 -xdev -user "$(id -u)" -prune -exec rm -rf -- {} +`;

/** Of the root of a tree, whose group is the app's: see TargetFiles in the runner. */
const handedOver = 0o1770;
/** How often what is left in a tree is removed once more: something of the app may still be at work there. */
const rounds = 3;

/** Removing many files takes a while on a slow disk; in ms. */
const removedWithin = 10 * 60_000;
const sharedWithin = 60_000;

const shareScript = fileURLToPath(new URL('shared-paths.ts', import.meta.url));

/**
 * What the server does to files that belong to an app. Where each app has a user, the server does nothing to them by
 * itself: a path that it checked may have become a link to anywhere when it uses it. The app's user may do it, who gets
 * nowhere by that.
 */
export class AppFiles {
  readonly #appliance: Appliance;
  readonly #key: string;
  readonly #paths: EnvironmentPaths;

  constructor(appliance: Appliance, key: string, paths: EnvironmentPaths) {
    this.#appliance = appliance;
    this.#key = key;
    this.#paths = paths;
  }

  /** Whether the app has a user. */
  get isolated(): Promise<boolean> {
    return this.#appliance.runner.hasUsers();
  }

  /** Makes its directories and its user, and hands over what is there from a time when it had none. */
  async prepare(): Promise<void> {
    if (!(await this.isolated)) return;
    const { releases, staging, shared, home, temporary } = this.#paths;
    for (const directory of [releases, staging, shared, home, temporary])
      await ensurePrivateDirectory(directory);
    await this.#appliance.runner.call('prepare', { key: this.#key });
    await runAsApp(this.#appliance, this.#key, ['/bin/sh', '-c', sweepHere], temporary, removedWithin);
    for (const name of await listDirectory(releases)) {
      if (/^[1-9]\d*$/.test(name) && (await isOurs(join(releases, name))))
        await this.#own(`releases/${name}`);
    }
  }

  /** From here on the tree in staging is the app's: what is done to it is done as its user. */
  async handOver(number: number): Promise<void> {
    if (await this.isolated)
      await this.#own(relative(this.#paths.directory, this.#paths.staged(number).directory));
  }

  /** Removes what is in a release, but for one name. */
  readonly empty = async (directory: string, except: string): Promise<void> => {
    if (!(await this.isolated)) return emptyDirectory(directory, except);
    if (await this.#emptiedOurs(directory, except)) return;
    const rest = async () => (await listDirectory(directory)).filter((name) => name !== except);
    for (let round = 1; (await rest()).length > 0; round += 1) {
      await chmod(directory, handedOver);
      await runAsApp(this.#appliance, this.#key, ['/bin/sh', '-c', emptyHere], directory, removedWithin);
      // Closed, so that nothing more comes into it; and never more than one level, where nothing is a way to elsewhere.
      await chmod(directory, 0o700);
      for (const name of await rest()) {
        await removeOne(join(directory, name)).catch((error: unknown) => {
          if (round === rounds) throw error;
        });
      }
    }
  };

  /** See linkShared. The app's user cannot ask whether something may be moved: it is asked for all at once. */
  async share(
    tree: string,
    paths: string[],
    live: string | undefined,
    mayMove: () => Promise<Disposable>,
  ): Promise<string[]> {
    const { shared } = this.#paths;
    if (paths.length === 0 || !(await this.isolated)) return linkShared(tree, shared, paths, live, mayMove);
    using _ = live === undefined ? undefined : await mayMove();
    const argv: [string, ...string[]] = [
      this.#appliance.node,
      shareScript,
      JSON.stringify({ tree, shared, paths, live }),
    ];
    const { code, printed } = await runAsApp(this.#appliance, this.#key, argv, tree, sharedWithin);
    const [line = ''] = printed.stdout.split('\n');
    if (code !== 0 || line === '')
      throw new Error(`shared paths were not linked (${code}): ${printed.stderr}`);
    const { adopted, error } = JSON.parse(line) as { adopted?: string[]; error?: unknown };
    if (adopted === undefined) throw AppError.from(error);
    return adopted;
  }

  #own(tree: string): Promise<null> {
    return this.#appliance.runner.call('own', { key: this.#key, tree });
  }

  /** A tree that was never handed over is all ours, but for a hand-over that was interrupted. @returns whether it is empty */
  async #emptiedOurs(directory: string, except: string): Promise<boolean> {
    if (!(await isOurs(directory))) return false;
    try {
      await emptyDirectory(directory, except);
      return true;
    } catch (error) {
      if (!hasCode(error, 'EACCES', 'EPERM')) throw error;
      await this.#own(relative(this.#paths.directory, directory));
      return false;
    }
  }
}

/** Removes all that a target's user has, in `directory`, where the target lies now, and elsewhere. */
export async function removeAllOf(appliance: Appliance, key: string, directory: string): Promise<void> {
  const { releases, staging } = new EnvironmentPaths(directory);
  for (const place of [releases, staging]) {
    for (const name of await listDirectory(place)) {
      const tree = join(place, name);
      if (!(await isOurs(tree))) await chmod(tree, handedOver);
    }
  }
  try {
    // First: what of it still runs could stop the shell that is to remove its files, for ever.
    await appliance.runner.call('endAll', { key });
    await runAsApp(appliance, key, ['/bin/sh', '-c', emptyAll], directory, removedWithin);
  } catch (error) {
    // It never came to a user, or that has been removed already, after all that it had.
    if (!(error instanceof AppError && error.code === 'user_refused')) throw error;
  }
}

/** A root that was handed over has the app's group, for good. */
async function isOurs(directory: string): Promise<boolean> {
  return (await lstat(directory)).gid === process.getgid?.();
}

async function removeOne(path: string): Promise<void> {
  try {
    await ((await lstat(path)).isDirectory() ? rmdir(path) : unlink(path));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw new AppError('files_obstructed', `${path} could not be removed: ${(error as Error).message}`, {
      hint: 'A process that the app has left behind may hold it. It is tried again at the next start of Sluice.',
      cause: error,
    });
  }
}

async function runAsApp(
  appliance: Appliance,
  user: string,
  argv: [string, ...string[]],
  directory: string,
  timeout: number,
): Promise<JobResult & { printed: { stdout: string; stderr: string } }> {
  const printed = { stdout: '', stderr: '' };
  const env = { PATH: usualPath };
  const job: JobSpec = { argv, directory, env, user, lowPriority: false, timeout };
  const onProgress = ({ stream, text }: { stream: 'stdout' | 'stderr'; text: string }) => {
    printed[stream] = (printed[stream] + text).slice(0, 1024 ** 2);
  };
  return { ...(await appliance.runner.call('job', { job }, { onProgress })), printed };
}

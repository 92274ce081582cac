import { stat } from 'node:fs/promises';
import { isName, listEnvironments, type Paths } from '../config/paths.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { shellWord } from '../system/text/format.ts';
import { type Finding, fault, ok } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * Checks that only the user of Sluice can access its state. A socket that others can open grants as much as a token, and a
 * user who can write into the home can replace files of Sluice.
 */
export async function* checkHome({ paths, server, systemWide }: Snapshot): AsyncIterable<Finding> {
  const home = await userOf(paths.home);
  if (home === undefined) {
    return yield fault(
      `there is no ${paths.home}`,
      'Set SLUICE_HOME to the directory with the state of Sluice; `sluice up` creates it.',
    );
  }
  // Without /proc, the owner of the home counts.
  const ofServer = server.state === 'up' ? await userOf(`/proc/${server.status.server.pid}`) : undefined;
  const owner = ofServer ?? home;
  const isSystemWide = systemWide || (owner !== 0 && (await userOf(paths.run)) === 0);
  for (const [path, mode] of await privatePaths(paths, isSystemWide)) {
    const stats = await ifThere(stat(path));
    if (stats === undefined) continue;
    if (stats.uid !== owner && !(isSystemWide && path === paths.run)) {
      yield fault(
        `${path} belongs to user ${stats.uid}, and Sluice runs as user ${owner}`,
        `chown ${owner} ${shellWord(path)}`,
      );
    }
    if ((stats.mode & 0o077 & ~mode) !== 0) {
      yield fault(
        `${path} is open to other users: its mode is ${octal(stats.mode)}`,
        `chmod ${octal(mode)} ${shellWord(path)}`,
      );
    }
  }
  yield ok(`${paths.home} and the secrets in it are private`);
}

/**
 * Returns the paths that must be private, with the widest mode of each.
 * @param isSystemWide true if the runner is root: apps then pass through the home and through `run`, which root owns
 */
async function privatePaths(paths: Paths, isSystemWide: boolean): Promise<Map<string, number>> {
  const repositories = (await listDirectory(paths.apps)).filter(isName).map((app) => paths.repository(app));
  const variables = (await listEnvironments(paths)).flatMap((id) => {
    const { env, variableDetails } = paths.environment(id);
    return [env, variableDetails];
  });
  const sockets = [paths.serverSocket, paths.sshSocket, paths.runnerSocket];
  const modes = new Map([[paths.home, isSystemWide ? 0o711 : 0o700]]);
  modes.set(paths.run, isSystemWide ? 0o771 : 0o700);
  for (const path of repositories) modes.set(path, 0o700);
  for (const path of [paths.tokens, paths.runTokens, paths.keys, ...sockets, ...variables])
    modes.set(path, 0o600);
  return modes;
}

async function userOf(path: string): Promise<number | undefined> {
  return (await ifThere(stat(path)))?.uid;
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
}

import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { isName, type Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { listDirectory } from '../system/fs/files.ts';
import { shellWord } from '../system/text/format.ts';
import { type Check, fault, ok, type Patient } from './check.ts';
import { environments } from './environments.ts';

/**
 * Whether nobody but the user that Sluice runs as can get at its state. A socket that others may open is as good as a
 * token for anything; who may write into the home may put files of theirs in the place of ours.
 */
export async function checkPrivacy({ paths, server, systemWide }: Patient): Promise<Check> {
  const home = await look(paths.home);
  if (home === undefined) {
    return fault(
      'home',
      `there is no ${paths.home}`,
      'SLUICE_HOME says where the state of Sluice is; `sluice up` makes it.',
    );
  }
  const owner = (server.state === 'up' ? await userOf(server.status.server.pid) : undefined) ?? home.uid;
  const wrong: string[] = [];
  const remedies: string[] = [];
  const isSystemWide = systemWide || (owner !== 0 && (await look(paths.run))?.uid === 0);
  for (const [path, mode] of await secrets(paths, isSystemWide)) {
    const stats = path === paths.home ? home : await look(path);
    if (stats === undefined) continue;
    if (stats.uid !== owner && !(isSystemWide && path === paths.run)) {
      wrong.push(`${path} belongs to user ${stats.uid}, not to ${owner}, whom Sluice runs as`);
      remedies.push(`chown ${owner} ${shellWord(path)}`);
    }
    if ((stats.mode & 0o077 & ~mode) !== 0) {
      wrong.push(`${path} is open to others: its mode is ${octal(stats.mode)}`);
      remedies.push(`chmod ${octal(mode)} ${shellWord(path)}`);
    }
  }
  if (wrong.length === 0) return ok('home', `${paths.home} and the secrets in it are private`);
  return fault('home', wrong.join('\n'), remedies.join('\n'));
}

/**
 * What must be private, with the mode that it should have.
 * @param isSystemWide whether the runner is root: then the home and `run`, which is root's, are there for apps to pass
 */
async function secrets(paths: Paths, isSystemWide: boolean): Promise<[path: string, mode: number][]> {
  const passages: [string, number][] = [
    [paths.home, isSystemWide ? 0o711 : 0o700],
    [paths.run, isSystemWide ? 0o771 : 0o700],
  ];
  const repositories = (await listDirectory(paths.apps)).filter(isName).map((app) => paths.repository(app));
  const files = [paths.tokens, paths.keys, paths.serverSocket, paths.sshSocket, paths.runnerSocket];
  const variables = (await environments(paths)).map(({ env }) => env);
  return [
    ...passages,
    ...repositories.map((path): [string, number] => [path, 0o700]),
    ...[...files, ...variables].map((path): [string, number] => [path, 0o600]),
  ];
}

/** Of a link, what it leads to: a home may be one. */
async function look(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined where there is no /proc. */
async function userOf(pid: number): Promise<number | undefined> {
  return (await look(`/proc/${pid}`))?.uid;
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
}

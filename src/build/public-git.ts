import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../errors/app-error.ts';

/** Hosts with public repositories. npm writes addresses of ssh into lockfiles also for these. */
const hosts = ['github.com', 'gitlab.com', 'bitbucket.org'];

/** Settings of git that replace addresses of ssh (source: git-config(1), `url.<base>.insteadOf`). */
const settings = hosts.flatMap((host) =>
  [`ssh://git@${host}/`, `git@${host}:`].map((address) => ({
    name: `url.https://${host}/.insteadOf`,
    address,
  })),
);

/**
 * Returns the variables with which git uses HTTPS where package.json or the lockfile names ssh: over ssh, even a public repository
 * needs a key. Returns none if the user has keys, or if the app sets its own variables for git.
 * @param home directory of the user that builds; undefined for the user of an app, who has no keys
 */
export function publicGitOverHttps(
  home: string | undefined,
  app: Record<string, string>,
): Record<string, string> {
  if (Object.keys(app).some((name) => name.startsWith('GIT_'))) return {};
  if (home !== undefined && hasKeys(join(home, '.ssh'))) return {};
  const variables = settings.flatMap(({ name, address }, index) => [
    [`GIT_CONFIG_KEY_${index}`, name],
    [`GIT_CONFIG_VALUE_${index}`, address],
  ]);
  return { GIT_CONFIG_COUNT: String(settings.length), ...Object.fromEntries(variables) };
}

function hasKeys(directory: string): boolean {
  try {
    return readdirSync(directory).some((name) => name === 'config' || name.startsWith('id_'));
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return false;
    throw error;
  }
}

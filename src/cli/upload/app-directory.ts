import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isName } from '../../config/paths.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { UsageError } from '../failure.ts';

/** Files of which every app has at least one. */
const mark = /^(?:package\.json|sluice\.json|Procfile|index\.html|(?:server|index|app)\.[cm]?[jt]s)$/;

/**
 * Returns the absolute path of the directory to deploy. Rejects a directory without an app: `sluice deploy` in a home
 * directory would otherwise send the keys in it.
 * @param written as on the command line
 * @throws UsageError if there is no such directory; AppError `nothing_to_run`
 */
export async function appDirectory(written = '.'): Promise<string> {
  const root = resolve(written);
  const names = await readdir(root).catch((error: unknown) => {
    if (existsSync(root) && hasCode(error, 'ENOTDIR'))
      throw new UsageError(`${root} is a file, not a directory`);
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    const hint = written.split('@').every(isName) ? `Did you mean --app ${written}?` : '';
    throw new UsageError(`directory ${written} not found`, hint);
  });
  if (names.some((name) => mark.test(name))) return root;
  throw new AppError(
    'nothing_to_run',
    `no app in ${root}: it has no package.json, sluice.json, Procfile, index.html or server.js`,
    {
      hint: 'Nothing was sent. Name the directory of the app: sluice deploy DIRECTORY.',
    },
  );
}

/**
 * Returns the name of the app in `directory`, from its package.json.
 * @throws UsageError if package.json has no valid name; AppError `invalid_settings` if it cannot be read
 */
export async function appNameIn(directory: string): Promise<string> {
  const manifest = await readJsonSettings(join(directory, 'package.json'), join(directory, 'package.json'));
  const name = (manifest as { name?: unknown } | null | undefined)?.name;
  if (typeof name !== 'string' || name === '') {
    throw new UsageError(
      'no app name: package.json has no `name`',
      'Name the app: --app NAME, such as --app shop.',
    );
  }
  if (isName(name)) return name;
  throw new UsageError(`invalid app name in package.json: "${name}"`, `Try --app ${likeName(name)}.`);
}

/** Suggests a valid name: `@acme/Quick_App` → `quick-app`. */
function likeName(name: string): string {
  const words = name.slice(name.lastIndexOf('/') + 1).toLowerCase();
  const like = words.replace(/[^a-z0-9]+/g, '-').replace(/^[^a-z]+/, '');
  return like.slice(0, 40).replace(/-+$/, '') || 'NAME';
}

import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { directoriesIn } from '../../build/static-site/files.ts';
import { isName } from '../../config/paths.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { isMissing } from '../../system/fs/read-file.ts';
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
  const { root, names } = await namesIn(written);
  if (names.some((name) => mark.test(name))) return root;
  throw noApp(root, 'deploy');
}

/**
 * Returns the absolute path of the directory to plan. The app may also be in a directory inside: a plan sends nothing. In a home
 * directory and above, only the directory itself counts, because a plan copies all files. Rejects a directory without an app.
 * @param written as on the command line
 * @throws as `appDirectory` does
 */
export async function previewDirectory(written = '.'): Promise<string> {
  const { root, names: own } = await namesIn(written);
  if (own.some((name) => mark.test(name))) return root;
  const isAboveHome = `${homedir()}${sep}`.startsWith(root.endsWith(sep) ? root : `${root}${sep}`);
  const inside = isAboveHome ? [] : await directoriesIn(root);
  for (const name of inside) {
    const names = await readdir(join(root, name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      return [];
    });
    if (names.some((each) => mark.test(each))) return root;
  }
  throw noApp(root, 'check');
}

/** Returns a directory and the names in it. @throws UsageError if there is no such directory */
async function namesIn(written: string): Promise<{ root: string; names: string[] }> {
  const root = resolve(written);
  const names = await readdir(root).catch((error: unknown) => {
    if (existsSync(root) && hasCode(error, 'ENOTDIR'))
      throw new UsageError(`${root} is a file, not a directory`);
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    const hint = written.split('@').every(isName) ? `Did you mean --app ${written}?` : '';
    throw new UsageError(`directory ${written} not found`, hint);
  });
  return { root, names };
}

function noApp(root: string, command: string): AppError {
  return new AppError(
    'nothing_to_run',
    `no app in ${root}: it has no package.json, sluice.json, Procfile, index.html or server.js`,
    {
      hint: `${command === 'deploy' ? 'Nothing was sent. ' : ''}Name the directory of the app: sluice ${command} DIRECTORY.`,
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

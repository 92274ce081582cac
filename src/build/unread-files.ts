import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { reservedNames } from '../config/app/variables.ts';
import { readManifest } from '../config/package-manifest.ts';
import type { Notice } from '../protocol/runner.ts';
import { exists } from '../system/fs/exists.ts';
import { readAppTextIfAny } from '../system/fs/read-file.ts';
import { listSome } from '../system/text/format.ts';

/** Packages that read `.env` by themselves. */
const readers = new Set(
  `dotenv dotenv-safe dotenv-expand dotenv-flow dotenv-cli dotenv-defaults @dotenvx/dotenvx env-cmd @nestjs/config @fastify/env
   env-schema envalid next nuxt vite react-scripts astro gatsby @adonisjs/core @strapi/strapi @sveltejs/kit @redwoodjs/core
   @keystone-6/core @vue/cli-service parcel directus bun-types`.split(/\s+/),
);

/** Limit of a file `.env`, in bytes. */
const maxEnvFile = 256 * 1024;

/** Files of other tools that list what to leave out of a release. */
const ignoreFiles = ['.dockerignore', '.slugignore'];

/**
 * Returns notices about files of an app that Sluice does not read, although their authors may expect it.
 * @param variables of the app by name
 * @throws AppError `invalid_settings`
 */
export async function unreadFilesNotices(
  directory: string,
  variables: Record<string, string> = {},
): Promise<Notice[]> {
  return [...(await environmentFileNotices(directory, variables)), ...(await ignoreFileNotices(directory))];
}

async function environmentFileNotices(
  directory: string,
  variables: Record<string, string>,
): Promise<Notice[]> {
  if (!(await exists(join(directory, '.env')))) return [];
  const names = Object.keys(parseEnv((await readAppTextIfAny(directory, '.env', maxEnvFile)) ?? ''));
  const missing = names.filter((name) => !reservedNames.has(name) && !Object.hasOwn(variables, name));
  if (missing.length === 0) return [];
  const { dependencies = {}, devDependencies = {}, scripts = {} } = (await readManifest(directory)) ?? {};
  const isRead =
    Object.keys({ ...dependencies, ...devDependencies }).some((name) => readers.has(name)) ||
    Object.values(scripts).some((script) => script.includes('--env-file'));
  if (isRead) return [];
  return [
    {
      code: 'file_not_read',
      message:
        missing.length === names.length
          ? 'Sluice does not set the variables in .env'
          : `Sluice does not set ${listSome(missing, 10)} from .env`,
      hint: 'Set them once with `sluice env set APP --file .env`, and remove .env from git: it may contain secrets.',
    },
  ];
}

async function ignoreFileNotices(directory: string): Promise<Notice[]> {
  const found: string[] = [];
  for (const name of ignoreFiles) if (await exists(join(directory, name))) found.push(name);
  if (found.length === 0) return [];
  return [
    {
      code: 'file_not_read',
      message: `Sluice does not read ${found.join(' and ')}`,
      hint: 'To leave files out of releases, write them into .gitattributes, such as `docs export-ignore`.',
    },
  ];
}

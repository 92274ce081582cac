import { join } from 'node:path';
import { readManifest } from '../config/package-manifest.ts';
import type { Notice } from '../protocol/runner.ts';
import { exists } from '../system/fs/exists.ts';

/** Packages that read `.env` by themselves. */
const readers = new Set(
  `dotenv dotenv-safe dotenv-expand dotenv-flow dotenv-cli dotenv-defaults @dotenvx/dotenvx env-cmd @nestjs/config @fastify/env
   env-schema envalid next nuxt vite react-scripts astro gatsby @adonisjs/core @strapi/strapi @sveltejs/kit @redwoodjs/core
   @keystone-6/core @vue/cli-service parcel directus bun-types`.split(/\s+/),
);

/** Files of other tools that list what to leave out of a release. */
const ignoreFiles = ['.dockerignore', '.slugignore'];

/**
 * Returns notices about files of an app that Sluice does not read, although their authors may expect it.
 * @throws AppError `invalid_settings`
 */
export async function unreadFilesNotices(directory: string): Promise<Notice[]> {
  return [...(await environmentFileNotices(directory)), ...(await ignoreFileNotices(directory))];
}

async function environmentFileNotices(directory: string): Promise<Notice[]> {
  if (!(await exists(join(directory, '.env')))) return [];
  const { dependencies = {}, devDependencies = {}, scripts = {} } = (await readManifest(directory)) ?? {};
  const isRead =
    Object.keys({ ...dependencies, ...devDependencies }).some((name) => readers.has(name)) ||
    Object.values(scripts).some((script) => script.includes('--env-file'));
  if (isRead) return [];
  return [
    {
      code: 'file_not_read',
      message: 'Sluice does not set the variables in .env',
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

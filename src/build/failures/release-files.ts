import { opendir } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { readManifest } from '../../config/package-manifest.ts';
import { exists } from '../../system/fs/exists.ts';
import { openAppFile } from '../../system/fs/read-file.ts';
import type { Match, Values } from './diagnose.ts';

/** Checks of rows that look at the files of the release. None follows a link out of the release. */

/** Number of bytes of a script that are searched for line endings. */
const headBytes = 4096;
/** Number of lines of a stack trace that are searched. */
const maxStackLines = 12;
/** Number of entries of a directory that are compared. */
const maxEntries = 20_000;

/** Applies if `{file}` is in the release and nobody may execute it. */
export async function isNotExecutable(match: Match): Promise<Values | undefined> {
  const file = pathInRelease(match, match.groups['file']);
  if (file === undefined) return undefined;
  await using handle = await openAppFile(join(match.directory, file), match.directory);
  return ((await handle.stat()).mode & 0o111) === 0 ? { file } : undefined;
}

/** Applies if `{file}` is not in the release. */
export async function isNotInRelease(match: Match): Promise<Values | undefined> {
  const file = pathInRelease(match, match.groups['file']);
  if (file === undefined || (await exists(join(match.directory, file)))) return undefined;
  return { file };
}

/**
 * Applies if the relative path `{file}` does not exist in the release, but in the package of the code that opens the path, in a
 * directory of the release: as `{package}`.
 */
export async function isBesideCaller(match: Match): Promise<Values | undefined> {
  const { output, at, directory, groups } = match;
  const file = pathInRelease(match, groups['file']);
  if (file === undefined || (await exists(join(directory, file)))) return undefined;
  const stack = output.slice(at + 1, at + 1 + maxStackLines);
  const callers = stack.flatMap((line) => pathInRelease(match, /(\/[^\s():]+):\d+/.exec(line)?.[1]) ?? []);
  const caller = callers.find((path) => !path.includes('node_modules/'));
  for (let place = dirname(caller ?? '.'); place !== '.'; place = dirname(place)) {
    const isPackage = await exists(join(directory, place, 'package.json'));
    if (isPackage && (await exists(join(directory, place, file)))) return { file, package: place };
  }
  return undefined;
}

/** Applies if `{file}` is a script with Windows line endings. */
export async function hasWindowsLines(match: Match): Promise<Values | undefined> {
  return windowsFile(match, match.groups['file'] ?? '');
}

/** Applies if the command, or a command that the package manager has printed, names a script with Windows line endings. */
export async function runsWindowsLines(match: Match): Promise<Values | undefined> {
  const printed = match.output.filter((line) => /^[>$] /.test(line)).slice(-10);
  const words = [match.command, ...printed].flatMap((line) => line.split(/[\s"';&|]+/));
  for (const word of new Set(words.filter((each) => /\w[./]/.test(each) || /\/\w/.test(each)))) {
    const values = await windowsFile(match, word).catch(() => undefined);
    if (values !== undefined) return values;
  }
  return undefined;
}

async function windowsFile(match: Match, path: string): Promise<Values | undefined> {
  const file = pathInRelease(match, path);
  if (file === undefined || !(await exists(join(match.directory, file)))) return undefined;
  await using handle = await openAppFile(join(match.directory, file), match.directory);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(headBytes), 0, headBytes, 0);
  return buffer.subarray(0, bytesRead).includes('\r\n') ? { file } : undefined;
}

/** Applies if `{module}` belongs to a dev dependency, which is not in a live release. */
export async function isDevDependency(match: Match): Promise<Values | undefined> {
  const name = packageOf(match.groups['module'] ?? '');
  const manifest = await readManifest(match.directory);
  if (manifest?.devDependencies[name] === undefined || manifest.dependencies[name] !== undefined)
    return undefined;
  return { package: name };
}

/** Applies if a dev dependency has the name of `{program}`, or is known to bring this program. */
export async function isDevProgram(match: Match): Promise<Values | undefined> {
  const program = match.groups['program'] ?? '';
  return isDevDependency({ ...match, groups: { module: packagesOfPrograms[program] ?? program } });
}

/** Packages whose programs have another name. */
const packagesOfPrograms: Record<string, string> = {
  tsc: 'typescript',
  ng: '@angular/cli',
  nest: '@nestjs/cli',
  'vue-cli-service': '@vue/cli-service',
  babel: '@babel/cli',
  webpack: 'webpack-cli',
  remix: '@remix-run/dev',
  'react-router': '@react-router/dev',
  strapi: '@strapi/strapi',
  sequelize: 'sequelize-cli',
  sls: 'serverless',
  swc: '@swc/cli',
  biome: '@biomejs/biome',
  run: 'npm-run-all',
  'run-s': 'npm-run-all',
  'run-p': 'npm-run-all',
  cap: '@capacitor/cli',
  changeset: '@changesets/cli',
  'graphql-codegen': '@graphql-codegen/cli',
  tailwindcss: '@tailwindcss/cli',
  quasar: '@quasar/app-vite',
};

/** Returns `{program}`, and the package that has this program as `{package}`. */
export function packageOfProgram({ groups }: Match): Values {
  const program = groups['program'] ?? '';
  return { program, package: packagesOfPrograms[program] ?? program };
}

/** Returns the path of a module that the build must create as `{file}`, and advice as `{advice}`. */
export async function buildOutput(match: Match): Promise<Values | undefined> {
  const file = pathInRelease(match, match.groups['path']);
  if (
    file === undefined ||
    !/^(?:\.\/)?(?:[\w-]+\/){0,3}(?:dist|build|out|lib|\.next|\.output|\.nuxt|\.svelte-kit)\//.test(file)
  )
    return undefined;
  const script = (await readManifest(match.directory))?.scripts['build'];
  const advice =
    script === undefined
      ? `Add a "build" script to package.json that creates ${file}, such as "build": "tsc".`
      : `The "build" script, \`${script}\`, must create ${file}: compare its output directory with the start command.`;
  return { file, advice };
}

/**
 * Applies if the release has a missing module under a name that differs in case: as `{wanted}` and `{actual}`. File
 * systems of macOS and Windows ignore the difference.
 */
export async function hasOtherCase(match: Match): Promise<Values | undefined> {
  const { module = '', from, folder } = match.groups;
  const importer = from ?? importerIn(match);
  const base = folder ?? (importer === undefined ? undefined : dirname(importer));
  const wanted = isAbsolute(module)
    ? pathInRelease(match, module)
    : base === undefined
      ? undefined
      : pathInRelease(match, join(base, module));
  if (wanted === undefined) return undefined;
  const actual = await actualPath(match.directory, wanted);
  return actual === undefined ? undefined : { wanted, actual };
}

/** Returns the first file of the "Require stack" below the matching line. */
function importerIn({ output, at }: Match): string | undefined {
  return output.slice(at + 1, at + 4).flatMap((line) => /^\s*- (\/\S+)$/.exec(line)?.[1] ?? [])[0];
}

/** Returns the path that differs from `wanted` in case only; undefined if there is none, or `wanted` exists. */
async function actualPath(directory: string, wanted: string): Promise<string | undefined> {
  let at = '';
  let differs = false;
  const parts = wanted.split('/');
  for (const [index, part] of parts.entries()) {
    const isLast = index === parts.length - 1;
    const name = await likeName(join(directory, at), part, isLast);
    if (name === undefined) return undefined;
    differs ||= name !== part && !name.startsWith(`${part}.`);
    at = join(at, name);
  }
  return differs ? at : undefined;
}

/** Returns the entry with a name, else one that differs in case; the last part of a module may lack its file extension. */
async function likeName(directory: string, name: string, isLast: boolean): Promise<string | undefined> {
  let found: string | undefined;
  let read = 0;
  for await (const entry of await opendir(directory)) {
    if (++read > maxEntries) return undefined;
    const stem = entry.name.replace(/\.\w+$/, '');
    if (entry.name === name || (isLast && stem === name)) return entry.name;
    const lower = name.toLowerCase();
    if (entry.name.toLowerCase() === lower || (isLast && stem.toLowerCase() === lower)) found = entry.name;
  }
  return found;
}

/** Returns the name of the package of a module: `@acme/ui/button` → `@acme/ui`. */
export function packageOf(module: string): string {
  return module.split('/', module.startsWith('@') ? 2 : 1).join('/');
}

/** Returns a path relative to the release; undefined if it is outside. */
export function pathInRelease(
  { directory }: Pick<Match, 'directory'>,
  path: string | undefined,
): string | undefined {
  if (path === undefined || path === '') return undefined;
  const below = relative(directory, resolve(directory, path));
  return below === '' || below === '..' || below.startsWith('../') ? undefined : below;
}

import { realpath, stat } from 'node:fs/promises';
import { join, normalize, relative, sep } from 'node:path';
import { type Manifest, readInstalledManifest } from '../../config/package-manifest.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { openFile } from '../../system/fs/read-file.ts';
import { unsupportedStart } from './command.ts';
import type { FoundCommand } from './start-plan.ts';

/**
 * The JavaScript file that a command runs, relative to `directory`, which is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`
 */
export async function resolveProgram(
  directory: string,
  manifest: Manifest | undefined,
  found: FoundCommand,
): Promise<string> {
  const script = await findProgram(directory, manifest, found);
  // What Node.js is told to run it runs, whatever it is called; `bin/www` is well known.
  if (found.command.program.kind !== 'file' && !(await isNodeProgram(directory, script))) {
    throw unsupportedStart(found.text, found.from, `${script} is no JavaScript program`);
  }
  return script;
}

/** The same without a look into it. */
export async function findProgram(
  directory: string,
  manifest: Manifest | undefined,
  found: FoundCommand,
): Promise<string> {
  const { command, text, from } = found;
  const { kind, name } = command.program;
  if (kind === 'file' || kind === 'executable') {
    if (!staysInside(name)) throw unsupportedStart(text, from, `${name} lies outside the release`);
    const file = await resolveFile(directory, name);
    if (file !== undefined) return file;
    throw new AppError('nothing_to_run', `${from} runs ${name}, which is not there`, {
      hint: 'Does the build make it, and at this place? Was it left out of the upload, by .gitignore perhaps?',
    });
  }
  const file = manifest === undefined ? undefined : await resolveBin(directory, manifest, name);
  if (file !== undefined) return file;
  throw withoutProgram(found, name);
}

export function withoutProgram({ text, from }: FoundCommand, name: string): AppError {
  return unsupportedStart(
    text,
    from,
    `no package in dependencies brings a program "${name}"`,
    `Add the package of ${name} to dependencies (devDependencies are gone when the app runs), or start a file: \`node server.js\`.`,
  );
}

/**
 * The file behind a program that a package brings, relative to `directory`, such as
 * `node_modules/next/dist/bin/next`. Undefined where no package has it.
 *
 * Packages are asked rather than `node_modules/.bin`: what pnpm puts there are shell scripts.
 */
export async function resolveBin(
  directory: string,
  manifest: Manifest,
  name: string,
): Promise<string | undefined> {
  const declared = [manifest.dependencies, manifest.optionalDependencies, manifest.devDependencies];
  // A program is most often named as its package.
  for (const dependency of new Set([name, ...declared.flatMap(Object.keys)])) {
    const file = await binOf(directory, join('node_modules', dependency), dependency, name);
    if (file !== undefined) return file;
  }
  // Of a package that another one depends on: npm and yarn link those too.
  const linked = await followInside(directory, join('node_modules/.bin', name));
  return linked === undefined ? undefined : await resolveFile(directory, linked);
}

async function binOf(
  directory: string,
  packagePath: string,
  packageName: string,
  name: string,
): Promise<string | undefined> {
  if (!staysInside(packagePath)) return undefined;
  const bin = (await readInstalledManifest(directory, packagePath))?.bin;
  if (bin === undefined) return undefined;
  const file = typeof bin === 'string' ? { [packageName.replace(/^@[^/]+\//, '')]: bin }[name] : bin[name];
  return file === undefined ? undefined : await resolveFile(directory, join(packagePath, file));
}

/** Whether a path as written stays inside the directory it is relative to. */
export function staysInside(path: string): boolean {
  const normal = normalize(path);
  return !normal.startsWith('/') && normal !== '..' && !normal.startsWith(`..${sep}`);
}

/**
 * The file that `node path` would run, relative to `directory`: the path itself, with `.js`, or, of a directory,
 * its `main` or `index.js`. Undefined where there is none.
 */
export async function resolveFile(directory: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(directory, path));
  if (kind === 'file') return normalize(path);
  if ((await kindOf(join(directory, `${path}.js`))) === 'file') return normalize(`${path}.js`);
  if (kind !== 'directory') return undefined;
  const main = (await readInstalledManifest(directory, path))?.main;
  const inside = [main, main && `${main}.js`, main && join(main, 'index.js'), 'index.js'];
  for (const name of inside) {
    if (name === undefined || name === '' || !staysInside(join(path, name))) continue;
    if ((await kindOf(join(directory, path, name))) === 'file') return join(path, name);
  }
  return undefined;
}

/** Whether Node.js can run a file: by its name, or by a first line such as `#!/usr/bin/env node`. */
export async function isNodeProgram(directory: string, path: string): Promise<boolean> {
  if (/\.[cm]?[jt]s$/.test(path)) return true;
  await using file = await openFile(join(directory, path), directory);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(256), position: 0 });
  const [first = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1);
  return /^#!.*\bnode\b/.test(first);
}

/** What a symbolic link ends at, relative to `directory`; undefined where that is outside, or nothing. */
export async function followInside(directory: string, path: string): Promise<string | undefined> {
  try {
    const inside = relative(await realpath(directory), await realpath(join(directory, path)));
    return staysInside(inside) ? inside : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function kindOf(path: string): Promise<'file' | 'directory' | undefined> {
  try {
    const stats = await stat(path);
    if (stats.isFile()) return 'file';
    return stats.isDirectory() ? 'directory' : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP');
}

import { realpath, stat } from 'node:fs/promises';
import { join, normalize, relative, sep } from 'node:path';
import { type Manifest, readInstalledManifest } from '../../config/package-manifest.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { openAppFile } from '../../system/fs/read-file.ts';
import { type StartCommand, unsupportedStart } from './command.ts';

/**
 * Returns the JavaScript file that a command runs, relative to `directory`.
 * @throws AppError `nothing_to_run`, `unsupported_start`
 */
export async function resolveProgram(
  directory: string,
  manifest: Manifest | undefined,
  command: StartCommand,
): Promise<string> {
  const { kind, name } = command.program;
  if (!staysInside(name)) throw unsupportedStart(command, `${name} is outside the release`);
  const isBin = kind === 'bin';
  const script = await (isBin ? resolveBin(directory, manifest, name) : resolveFile(directory, name));
  if (script === undefined) throw isBin ? programMissing(command) : fileMissing(command);
  // Node.js runs any file that it is given, even without an extension: `node bin/www` is common.
  if (kind === 'file' || (await isNodeProgram(directory, script))) return script;
  throw unsupportedStart(command, `${script} is not a JavaScript program`);
}

function fileMissing({ from, program }: StartCommand): AppError {
  return new AppError('nothing_to_run', `${from} runs ${program.name}, which does not exist`, {
    hint: 'Check that the build writes this file, and that .gitignore does not exclude it from the upload.',
  });
}

export function programMissing(command: StartCommand): AppError {
  const { name } = command.program;
  return unsupportedStart(
    command,
    `no package in dependencies has a program "${name}"`,
    `Add the package of ${name} to dependencies (devDependencies are removed before the app runs), or start a file: \`node server.js\`.`,
  );
}

/**
 * Returns the file behind a program of a package, relative to `directory`, such as `node_modules/next/dist/bin/next`;
 * undefined if no package has the program. Reads manifests instead of `node_modules/.bin`: pnpm puts shell scripts there.
 */
async function resolveBin(directory: string, manifest: Manifest | undefined, name: string) {
  const { dependencies, optionalDependencies, devDependencies } = manifest ?? {};
  const declared = Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies });
  // Most programs have the name of their package.
  for (const dependency of new Set([name, ...declared])) {
    const packagePath = join('node_modules', dependency);
    if (!staysInside(packagePath)) continue;
    const bin = (await readInstalledManifest(directory, packagePath))?.bin ?? {};
    const bins = typeof bin === 'string' ? { [dependency.replace(/^@[^/]+\//, '')]: bin } : bin;
    if (!Object.hasOwn(bins, name)) continue;
    const file = await resolveFile(directory, join(packagePath, bins[name] ?? ''));
    if (file !== undefined) return file;
  }
  // npm and yarn also link programs of indirect dependencies.
  const linked = await followInside(directory, join('node_modules/.bin', name));
  return linked && (await resolveFile(directory, linked));
}

/** Returns true if a path, as written, stays inside the directory that it is relative to. */
export function staysInside(path: string): boolean {
  const normal = normalize(path);
  return !normal.startsWith('/') && normal !== '..' && !normal.startsWith(`..${sep}`);
}

/**
 * Returns the file that `node path` would run, relative to `directory`: the path itself, the path with `.js`, or `main` or
 * `index.js` of a directory. Returns undefined if no such file exists.
 */
export async function resolveFile(directory: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(directory, path));
  if (kind === 'file') return normalize(path);
  if ((await kindOf(join(directory, `${path}.js`))) === 'file') return normalize(`${path}.js`);
  if (kind !== 'directory') return undefined;
  const main = (await readInstalledManifest(directory, path))?.main;
  for (const name of main ? [main, `${main}.js`, join(main, 'index.js'), 'index.js'] : ['index.js']) {
    const file = join(path, name);
    if (staysInside(file) && (await kindOf(join(directory, file))) === 'file') return file;
  }
  return undefined;
}

/** Returns true if the name of a file, or a first line such as `#!/usr/bin/env node`, shows that Node.js can run it. */
async function isNodeProgram(directory: string, path: string): Promise<boolean> {
  if (/\.[cm]?[jt]s$/.test(path)) return true;
  await using file = await openAppFile(join(directory, path), directory);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(256), position: 0 });
  return /^#!.*\bnode\b/.test(buffer.toString('utf8', 0, bytesRead));
}

/** Returns the target of a symbolic link, relative to `directory`; undefined if it is outside or does not exist. */
async function followInside(directory: string, path: string): Promise<string | undefined> {
  const target = await realpath(join(directory, path)).catch(unlessAbsent);
  if (target === undefined) return undefined;
  const inside = relative(await realpath(directory), target);
  return staysInside(inside) ? inside : undefined;
}

async function kindOf(path: string): Promise<'file' | 'directory' | undefined> {
  const stats = await stat(path).catch(unlessAbsent);
  if (stats?.isFile()) return 'file';
  return stats?.isDirectory() ? 'directory' : undefined;
}

function unlessAbsent(error: unknown): undefined {
  if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw error;
}

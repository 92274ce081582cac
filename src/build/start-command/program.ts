import { readdir, realpath, stat } from 'node:fs/promises';
import { join, normalize, relative, sep } from 'node:path';
import { readInstalledManifest } from '../../config/package-manifest.ts';
import { readJsonSettings } from '../../config/settings-file.ts';
import { AppError } from '../../errors/app-error.ts';
import type { ExecCommand } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';
import { isMissing, openAppFile } from '../../system/fs/read-file.ts';
import { buildHint, compileScript } from '../compile-script.ts';
import type { FoundCommand } from './follow.ts';
import { withoutSeen } from './node-arguments.ts';
import { manifestFor, type Project, staysInside } from './project.ts';
import { unsupportedStart } from './trail.ts';

/** File that a command runs, relative to the release, with the options of Node.js in its first line; or the command for a shell. */
export type Resolved = { script: string; nodeArgs: string[] } | { exec: ExecCommand };

/**
 * Finds what a command runs.
 * @throws AppError `nothing_to_run`, `unsupported_start`
 */
export async function resolveTarget(project: Project, command: FoundCommand): Promise<Resolved> {
  const { target, shell } = command;
  if (target.kind === 'shell') return { exec: { command: shell, reason: target.reason } };
  const { name } = target;
  const isBin = target.kind === 'bin';
  if (!isBin) requireInside(command, name);
  const path = join(command.directory, name);
  const script = await (isBin
    ? resolveBin(project, command.directory, name)
    : fileOrOutput(project, command, name));
  if (script === undefined) {
    if (isBin && command.mayDownload) {
      return { exec: { command: shell, reason: `no package in dependencies has the program ${name}` } };
    }
    // A command before the start may write the file.
    if (!isBin && command.before.length > 0) return { script: path, nodeArgs: [] };
    throw isBin ? programMissing(command, name) : fileMissing(project, command, path);
  }
  // Node.js runs any file that it is given, even without an extension: `node bin/www` is common.
  if (target.kind === 'file') return { script, nodeArgs: [] };
  const { language, options } = await languageOf(project.root, script);
  if (language === 'node') return { script, nodeArgs: await withoutSeen(options, project) };
  if (language === 'shell')
    return { exec: { command: shell, reason: `${script} is a script of another program` } };
  if (command.anyProgram)
    return { exec: { command: shell, reason: `${script} is not a JavaScript program` } };
  throw unsupportedStart(command, `${script} is not a JavaScript program`);
}

/** Directories in which the build writes the output of an app, with the paths of its sources. */
const outputs = ['build', 'dist'];

/**
 * Returns the file that a command names, or what the build has made of its source: AdonisJS, for example, writes
 * `build/bin/server.js`, and `start` is `node bin/server.js` for that directory.
 */
async function fileOrOutput(
  { root, isBuilt }: Project,
  { directory }: FoundCommand,
  name: string,
): Promise<string | undefined> {
  for (const output of isBuilt ? ['.', ...outputs] : ['.']) {
    const file = await resolveFile(root, join(directory, output, name));
    if (file !== undefined) return file;
  }
  return undefined;
}

/**
 * Rejects a command before the install and the build, if it is certain that its file or program will not exist.
 * @throws AppError `nothing_to_run`, `unsupported_start`
 */
export async function checkTarget(project: Project, command: FoundCommand): Promise<void> {
  const { target, before, builds } = command;
  if (target.kind === 'shell') return;
  if (target.kind === 'bin') {
    if (!command.mayDownload && (await isNowhere(project, target.name)))
      throw programMissing(command, target.name);
    return;
  }
  requireInside(command, target.name);
  const path = normalize(join(command.directory, target.name));
  const mayAppear = project.mayBuild || before.length > 0 || builds.length > 0;
  if (!mayAppear && !path.split(sep).includes('node_modules')) await resolveTarget(project, command);
}

function requireInside(command: FoundCommand, name: string): void {
  if (name.startsWith('/') || !staysInside(join(command.directory, name))) {
    throw unsupportedStart(command, `${name} is outside the release`);
  }
}

function fileMissing({ manifest, buildScript }: Project, { from }: FoundCommand, path: string): AppError {
  const compiles = compileScript(manifest);
  const isOutput = /^(?:dist|build|out|lib|\.output)\//.test(normalize(path));
  const hint =
    buildScript === undefined && compiles !== undefined && isOutput
      ? buildHint(compiles)
      : 'Check that the build writes this file, and that .gitignore does not exclude it from the upload.';
  return new AppError('nothing_to_run', `${from} runs ${path}, which does not exist`, { hint });
}

function programMissing(command: FoundCommand, name: string): AppError {
  return unsupportedStart(
    command,
    `no package in dependencies has a program "${name}"`,
    `Run \`npm install ${name}\` if the package has this name, or name a file in sluice.json, as in {"start": "node server.js"}.`,
  );
}

/** The parts of package-lock.json that Sluice reads. */
interface Lock {
  packages?: Record<string, { bin?: Record<string, string> } | undefined> | null;
}

/** Returns true if no package that the install adds has a program. Returns false if only the install can show that. */
async function isNowhere({ root, app, manifest, hasWorkspace }: Project, program: string): Promise<boolean> {
  const { dependencies, optionalDependencies, peerDependencies, devDependencies } = manifest ?? {};
  const all = Object.keys({
    ...dependencies,
    ...optionalDependencies,
    ...peerDependencies,
    ...devDependencies,
  });
  // Packages of a workspace are installed at its top.
  if (app !== '.') return false;
  if (all.length === 0 && !hasWorkspace) return !(await exists(join(root, 'node_modules/.bin', program)));
  const others = ['yarn.lock', 'pnpm-lock.yaml', 'bun.lock', 'bun.lockb'];
  for (const name of others) if (await exists(join(root, name))) return false;
  const name = 'package-lock.json';
  const lock = (await readJsonSettings(join(root, name), name, root).catch((error: unknown) => {
    // The install reports a damaged lockfile.
    if (!(error instanceof AppError)) throw error;
  })) as Lock | undefined;
  const entries = Object.values(lock?.packages ?? {});
  return entries.length > 1 && !entries.some((entry) => entry?.bin?.[program] !== undefined);
}

/**
 * Returns the file behind a program of a package, relative to the release, such as `node_modules/next/dist/bin/next`; undefined if
 * no package has the program. Reads manifests instead of `node_modules/.bin`: pnpm puts shell scripts there.
 * @param directory working directory; its packages are found first, then those of the directories above
 */
async function resolveBin(project: Project, directory: string, name: string): Promise<string | undefined> {
  const { root } = project;
  const { manifest } = (await manifestFor(project, directory)) ?? {};
  const { dependencies, optionalDependencies, devDependencies } = manifest ?? {};
  const declared = Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies });
  for (const modules of modulesAbove(directory)) {
    // Most programs have the name of their package.
    for (const dependency of new Set([name, ...declared])) {
      const packagePath = join(modules, dependency);
      if (!staysInside(packagePath)) continue;
      const bin = (await readInstalledManifest(root, packagePath))?.bin ?? {};
      const bins = typeof bin === 'string' ? { [dependency.replace(/^@[^/]+\//, '')]: bin } : bin;
      if (!Object.hasOwn(bins, name)) continue;
      const file = await resolveFile(root, join(packagePath, bins[name] ?? ''));
      if (file !== undefined) return file;
    }
    // npm and yarn also link programs of indirect dependencies.
    const linked = await followInside(root, join(modules, '.bin', name));
    const file = linked && (await resolveFile(root, linked));
    if (file) return file;
  }
  return undefined;
}

/** Returns the directories in which Node.js looks for packages, from a directory up to the release. */
function modulesAbove(directory: string): string[] {
  const parts = normalize(directory) === '.' ? [] : normalize(directory).split(sep);
  return [...parts.keys(), parts.length]
    .reverse()
    .map((count) => join(...parts.slice(0, count), 'node_modules'));
}

/** Extensions that Node.js or a program such as tsx adds to the name of a file. */
const extensions = ['.js', '.ts', '.cjs', '.mjs'];

/**
 * Returns the file that `node path` would run, relative to `root`: the path itself, the path with an extension, or `main` or an
 * index file of a directory. Returns undefined if no such file exists.
 */
export async function resolveFile(root: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(root, path);
  if (kind === 'file') return normalize(path);
  for (const extension of extensions) {
    if ((await kindOf(root, `${path}${extension}`)) === 'file') return normalize(`${path}${extension}`);
  }
  if (kind !== 'directory') return undefined;
  const main = (await readInstalledManifest(root, path))?.main;
  const index = ['index.js', 'index.ts', 'index.cjs', 'index.mjs'];
  for (const name of main ? [main, `${main}.js`, join(main, 'index.js'), ...index] : index) {
    const file = join(path, name);
    if (staysInside(file) && (await kindOf(root, file)) === 'file') return file;
  }
  return undefined;
}

/**
 * Returns the first file that exists, relative to `root`.
 * @param patterns paths; `*` stands for one directory
 */
export async function firstFile(root: string, patterns: string[]): Promise<string | undefined> {
  for (const pattern of patterns) {
    const [before = '', after] = pattern.split('*', 2);
    if (after === undefined) {
      if ((await kindOf(root, pattern)) === 'file') return pattern;
      continue;
    }
    const names = await readdir(join(root, before)).catch(unlessAbsent);
    for (const name of names?.sort().slice(0, maxEntries) ?? []) {
      const path = `${before}${name}${after}`;
      if ((await kindOf(root, path)) === 'file') return path;
    }
  }
  return undefined;
}

/** Limit of the entries of a directory that `*` stands for. */
const maxEntries = 100;

/** Returns the options of Node.js that the first line of a file names, as in `#!/usr/bin/env node -r esm`. */
export async function firstLineOptions(project: Project, path: string): Promise<string[]> {
  try {
    const { options } = await languageOf(project.root, path);
    return await withoutSeen(options, project);
  } catch (error) {
    // The start reports a file that Node.js cannot read.
    if (!isMissing(error)) throw error;
    return [];
  }
}

/** Returns how a file runs, by its name or a first line such as `#!/usr/bin/env node`. */
async function languageOf(
  root: string,
  path: string,
): Promise<{ language: 'node' | 'shell' | 'other'; options: string[] }> {
  await using file = await openAppFile(join(root, path), root);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(256), position: 0 });
  const [start = ''] = buffer.toString('utf8', 0, bytesRead).split('\n', 1);
  const words = /^#!.*?(?<![\w-])node(?:\s+(?<options>-.*))?$/.exec(start.trimEnd())?.groups?.['options'];
  const options = words?.split(/\s+/) ?? [];
  if (/\.[cm]?[jt]s$/.test(path) || /^#!.*\bnode\b/.test(start)) return { language: 'node', options };
  const isScript = start.startsWith('#!') || path.endsWith('.sh');
  return { language: isScript ? 'shell' : 'other', options: [] };
}

/** Returns the target of a symbolic link, relative to `root`; undefined if it is outside or does not exist. */
async function followInside(root: string, path: string): Promise<string | undefined> {
  const target = await realpath(join(root, path)).catch(unlessAbsent);
  if (target === undefined) return undefined;
  const inside = relative(await realpath(root), target);
  return staysInside(inside) ? inside : undefined;
}

async function kindOf(root: string, path: string): Promise<'file' | 'directory' | undefined> {
  const stats = await stat(join(root, path)).catch(unlessAbsent);
  if (stats?.isFile()) return 'file';
  return stats?.isDirectory() ? 'directory' : undefined;
}

function unlessAbsent(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

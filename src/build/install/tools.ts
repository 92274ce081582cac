import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { exists, ifThere } from '../../system/fs/exists.ts';
import { readJson } from '../../system/fs/files.ts';

interface Tool {
  /** package in the npm registry, and the program it brings */
  package: string;
  program: string;
  /** exact, or a range, which stands for what was newest when it was first asked for */
  version: string;
}

/** Runs one command to its end. @throws AppError where it fails */
export type RunCommand = (argv: [string, ...string[]], directory: string) => Promise<void>;

/** The directory of its programs, where this very version lies beside the Node.js that we run on. */
export async function carriedTool(
  { package: name, version }: Tool,
  node: string,
): Promise<string | undefined> {
  const bin = dirname(node);
  const manifest = join(bin, '../lib/node_modules', name, 'package.json');
  const carried = (await readJson(manifest)) as { version?: unknown } | undefined;
  return carried?.version === version ? bin : undefined;
}

/**
 * Gets a package manager at a version, from the cache, or into it with npm.
 * @param cache the directory of all of them; made where it is missing
 * @param run runs npm
 * @returns the directory of its programs, for PATH
 * @throws AppError what `run` throws
 */
export async function provideTool(tool: Tool, cache: string, run: RunCommand): Promise<string> {
  const home = join(cache, `${tool.program}@${tool.version}`);
  const bin = join(home, 'node_modules/.bin');
  if (await exists(bin)) return bin;

  await mkdir(cache, { recursive: true });
  await sweep(cache);
  const temporary = join(cache, `${temporaryPrefix}${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(temporary);
    // Without a package.json of its own, npm would install into a directory above that has one.
    await writeFile(join(temporary, 'package.json'), '{ "private": true }\n');
    await run(installCommand(tool, temporary), temporary);
    if (!(await exists(join(temporary, 'node_modules/.bin', tool.program)))) {
      throw new AppError('install_failed', `${tool.package}@${tool.version} has no program ${tool.program}`);
    }
    await renameUnlessThere(temporary, home);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return bin;
}

function installCommand(tool: Tool, directory: string): [string, ...string[]] {
  const flags = ['--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  return ['npm', 'install', `--prefix=${directory}`, ...flags, `${tool.package}@${tool.version}`];
}

/** Another build may have been faster: a directory that is not empty is not replaced, and theirs is as good. */
async function renameUnlessThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

const temporaryPrefix = '.installing-';
const abandonedAfter = 3_600_000;

/** Removes what installs that were killed have left. */
async function sweep(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const stats = await ifThere(stat(join(cache, name)));
    if (stats !== undefined && Date.now() - stats.mtimeMs > abandonedAfter) {
      await rm(join(cache, name), { recursive: true, force: true });
    }
  }
}

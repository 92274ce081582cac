import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError, hasCode } from '../../errors/app-error.ts';
import { exists, ifThere } from '../../system/fs/exists.ts';
import { readJson } from '../../system/fs/files.ts';

interface Tool {
  /** package in the npm registry */
  package: string;
  /** directory of the program, relative to the tool; undefined for `node_modules/.bin` */
  bin?: string;
  program: string;
  /** exact, or a range: then the newest version at the first use */
  version: string;
}

/** Runs a command and waits for its end. @throws AppError if the command fails */
export type RunCommand = (argv: [string, ...string[]], directory: string) => Promise<void>;

/** Returns the directory of the tool's program if the Node.js installation `node` includes this version; else undefined. */
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
 * Returns the directory of the tool's program, for PATH. Installs the tool with npm unless the cache has it.
 * @param cache directory of all tools; created if missing
 * @param run runs npm
 * @throws AppError as `run` does
 */
export async function provideTool(tool: Tool, cache: string, run: RunCommand): Promise<string> {
  const home = join(cache, `${tool.program}@${tool.version}`);
  const { bin: programs = 'node_modules/.bin' } = tool;
  const bin = join(home, programs);
  if (await exists(bin)) return bin;

  await mkdir(cache, { recursive: true });
  await removeAbandoned(cache);
  const temporary = temporaryIn(cache);
  try {
    await mkdir(temporary);
    // Without a package.json here, npm would install into a directory above that has one.
    await writeFile(join(temporary, 'package.json'), '{ "private": true }\n');
    await run(installCommand(tool, temporary), temporary);
    await rm(join(temporary, downloads), { recursive: true, force: true });
    if (!(await exists(join(temporary, programs, tool.program)))) {
      throw new AppError('install_failed', `${tool.package}@${tool.version} has no program ${tool.program}`);
    }
    await rename(temporary, home).catch((error: unknown) => {
      // Another build has installed the same tool at the same time.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return bin;
}

/** Removes a tool by the name of its directory. A kill leaves no part of the tool in that directory. */
export async function removeTool(cache: string, name: string): Promise<void> {
  const aside = temporaryIn(cache);
  await rename(join(cache, name), aside);
  await rm(aside, { recursive: true, force: true });
}

/** npm's own cache of an install. It is removed: a tool is downloaded once, and a Node.js has 50 MB. */
const downloads = '.npm';

function installCommand(tool: Tool, directory: string): [string, ...string[]] {
  const flags = ['--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  const places = [`--prefix=${directory}`, `--cache=${join(directory, downloads)}`];
  return ['npm', 'install', ...places, ...flags, `${tool.package}@${tool.version}`];
}

const temporaryPrefix = '.installing-';
const abandonedAfter = 3_600_000;

function temporaryIn(cache: string): string {
  return join(cache, `${temporaryPrefix}${process.pid}-${randomBytes(6).toString('hex')}`);
}

/** Removes the directories of killed installs and removals. */
async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const stats = await ifThere(stat(join(cache, name)));
    if (stats !== undefined && Date.now() - stats.mtimeMs > abandonedAfter) {
      await rm(join(cache, name), { recursive: true, force: true });
    }
  }
}

import { readdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { exists, ifThere } from '../../system/fs/exists.ts';
import { provideTool, type RunCommand, removeTool } from '../install/tools.ts';

/** npm package with Node.js for this machine. */
export const nodePackage =
  process.platform === 'linux'
    ? `node-linux-${process.arch}`
    : `node-bin-${process.platform}-${process.arch}`;

const program = 'node';

/** Returns the path of a version of Node.js in the directory of all tools, whether or not it is installed. */
export function nodePath(tools: string, version: string): string {
  return join(tools, `${program}@${version}`, 'node_modules', nodePackage, 'bin/node');
}

/** Returns the versions of Node.js in the directory of all tools. */
export async function installedNodes(tools: string): Promise<string[]> {
  const names = (await ifThere(readdir(tools))) ?? [];
  const versions = names.flatMap((name) => /^node@(\d[\w.-]*)$/.exec(name)?.[1] ?? []);
  const installed = await Promise.all(versions.map((version) => exists(nodePath(tools, version))));
  return versions.filter((_version, at) => installed[at]);
}

/**
 * Installs a version of Node.js unless it is installed. npm checks the integrity of the package. The directory belongs to the user
 * of the server: all apps run the version, and none may change it.
 * @throws AppError as `run` does
 */
export async function installNode(tools: string, version: string, run: RunCommand): Promise<void> {
  await provideTool({ package: nodePackage, program, version }, tools, run);
  await touchNode(tools, version);
}

/** Marks a version as used now: see `removeIfUnused`. */
export async function touchNode(tools: string, version: string): Promise<void> {
  const now = new Date();
  await ifThere(utimes(join(tools, `${program}@${version}`), now, now));
}

/** Time for which an unused version stays, in ms: a release that is being built, or processes that still drain, may use it. */
const unusedFor = 3_600_000;

/** Removes a version unless it was used lately. Returns true if it was removed. */
export async function removeIfUnused(tools: string, version: string): Promise<boolean> {
  const name = `${program}@${version}`;
  const stats = await ifThere(stat(join(tools, name)));
  if (stats === undefined || Date.now() - stats.mtimeMs < unusedFor) return false;
  await removeTool(tools, name);
  return true;
}

import { rmdir, unlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { hasCode } from '../../errors/app-error.ts';
import { removeTree } from '../../system/fs/remove-tree.ts';
import { run } from '../../system/process/run.ts';
import { counted } from '../../system/text/format.ts';
import { findDevPackages, type PruneRequest } from './dev-packages.ts';

/** Line that the program prints for each package in devDependencies that stays. */
export const keptPattern = /^keeps (\S+)$/;

/** Length of an argument. The system limits each to 128 KiB, and all to 2 MiB: so a request is compressed and split. */
const argumentLength = 100_000;

/** Number of directories that are removed by one command. */
const lot = 50;

/** Returns the arguments of the program for a request. */
export function argumentsOf(request: PruneRequest): string[] {
  const text = gzipSync(JSON.stringify(request)).toString('base64');
  return text.match(new RegExp(`.{1,${argumentLength}}`, 'g')) ?? [];
}

/** Returns the request of the arguments of the program. */
function requestOf(args: string[]): PruneRequest {
  return JSON.parse(gunzipSync(Buffer.from(args.join(''), 'base64')).toString());
}

/**
 * Removes the packages that only dev dependencies need. Changes no other file: a package manager would install again, and undo
 * what scripts and the build have changed in node_modules.
 * @returns the number of removed packages, and the names of those in devDependencies that stay because a command needs them
 */
export async function removeDevPackages(request: PruneRequest): Promise<{ removed: number; kept: string[] }> {
  const { directories, links, kept } = findDevPackages(request);
  for (const link of links) await unlink(link);
  await removeAll(directories);
  for (const path of [...links, ...directories]) await removeEmptyParents(path);
  return { removed: directories.length, kept };
}

/** Removes directories, two lots at a time: with tens of thousands of files, `rm` of Node.js takes more than twice as long. */
async function removeAll(directories: readonly string[]): Promise<void> {
  const waiting = [...directories];
  const lane = async () => {
    while (waiting.length > 0) await removeLot(waiting.splice(0, lot));
  };
  await Promise.all([lane(), lane()]);
}

async function removeLot(directories: string[]): Promise<void> {
  try {
    await run('rm', ['-rf', '--', ...directories]);
  } catch {
    // Some packages contain read-only directories. Any other failure comes again.
    for (const directory of directories) await removeTree(directory);
  }
}

/** Removes the directories of a scope, of programs and of packages above a removed path if they are empty. */
async function removeEmptyParents(path: string): Promise<void> {
  const parent = dirname(path);
  if (!/^(?:@.*|\.bin|node_modules)$/.test(basename(parent))) return;
  try {
    await rmdir(parent);
  } catch (error) {
    if (hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) return;
    throw error;
  }
  await removeEmptyParents(parent);
}

if (import.meta.main) {
  const { removed, kept } = await removeDevPackages(requestOf(process.argv.slice(2)));
  const lines = [
    `removed ${counted(removed, 'package')} that only devDependencies need`,
    ...kept.map((name) => `keeps ${name}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

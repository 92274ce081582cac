import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isMissing } from '../../system/fs/read-file.ts';

/** Limit of the size of a lockfile, in bytes: the same as for the install. */
const maxLockfileBytes = 64 * 1024 ** 2;

/**
 * Returns the dependencies of packages in the yarn.lock of yarn 2 or later, by the name of the package. Yarn adds dependencies that
 * packages forget to declare (`packageExtensions`), and only the lockfile names them. Returns nothing for other lockfiles.
 */
export function yarnDependencies(root: string): Map<string, Set<string>> {
  const all = new Map<string, Set<string>>();
  const text = readLockfile(join(root, 'yarn.lock'));
  if (!/^__metadata:$/m.test(text)) return all;
  let current = new Set<string>();
  let isDependency = false;
  for (const line of text.split('\n')) {
    const name = /^"?((?:@[^@/]+\/)?[^@/"\s#]+)@/.exec(line)?.[1];
    if (name !== undefined) {
      // The entry of a workspace also lists its dev dependencies.
      current = line.includes('@workspace:') ? new Set() : (all.get(name) ?? new Set());
      if (!line.includes('@workspace:')) all.set(name, current);
    } else if (/^ {2}\S/.test(line)) {
      isDependency = /^ {2}(?:peerD|d)ependencies:$/.test(line);
    } else if (isDependency) {
      const dependency = /^ {4}"?([^":\s]+)"?:/.exec(line)?.[1];
      if (dependency !== undefined) current.add(dependency);
    }
  }
  return all;
}

function readLockfile(path: string): string {
  try {
    const stats = statSync(path);
    return stats.isFile() && stats.size <= maxLockfileBytes ? readFileSync(path, 'utf8') : '';
  } catch (error) {
    if (isMissing(error)) return '';
    throw error;
  }
}

import { dirname, join, relative } from 'node:path';
import { parentsOf } from '../../config/workspaces.ts';
import { exists } from '../../system/fs/exists.ts';
import type { FoundCommand } from './follow.ts';
import { type Project, readText, staysInside } from './project.ts';

/** Call that opens a path relative to the working directory. */
const opened =
  /\b(?:readFileSync|readFile|createReadStream|readdirSync|readdir|existsSync|statSync|static|serveStatic)\(\s{0,9}["'`]((?:\.\/)?[\w@-][\w@./-]{0,100})["'`]/g;
/** Limit of the paths that are looked up. */
const mostPaths = 50;

/**
 * Returns a command in the directory with the paths that its file opens. `node apps/web/server.js` runs in the workspace root,
 * unless the file opens a path that exists only in the directory of its own package.
 */
export async function inDirectoryOfFiles(project: Project, found: FoundCommand): Promise<FoundCommand> {
  const { target, directory, nodeArgs, args } = found;
  // Options and arguments may be paths in the directory of the command.
  if (target.kind !== 'file' || nodeArgs.length > 0 || args.length > 0) return found;
  const path = join(directory, target.name);
  const own = await packageBelow(project.root, directory, path);
  if (own === undefined) return found;
  const text = (await readText(project, path)) ?? '';
  const paths = [...text.matchAll(opened)].slice(0, mostPaths).map(([, name = '']) => name);
  const isIn = (place: string, name: string) =>
    staysInside(join(place, name)) && exists(join(project.root, place, name));
  for (const name of paths) {
    if (await isIn(directory, name)) return found;
    if (await isIn(own, name))
      return { ...found, directory: own, target: { ...target, name: relative(own, path) } };
  }
  return found;
}

/** Returns the directory of the package that has a file, if it is below another directory; all are relative to `root`. */
async function packageBelow(root: string, top: string, path: string): Promise<string | undefined> {
  if (!staysInside(path) || !staysInside(relative(top, path))) return undefined;
  // The last is the top itself.
  for (const below of parentsOf(relative(top, dirname(path))).slice(0, -1))
    if (await exists(join(root, top, below, 'package.json'))) return join(top, below);
  return undefined;
}

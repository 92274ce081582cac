import { readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Paths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { leftTemporaries, temporaryBeside } from '../system/fs/files.ts';
import { PinnedDirectory } from '../system/fs/pinned-directory.ts';
import { removeTree } from '../system/fs/remove-tree.ts';
import { run } from '../system/process/run.ts';
import type { Owners } from './owners.ts';

/** Where a backup is unpacked. */
export interface Staging extends AsyncDisposable {
  /** Its content, by a path that leads nowhere else whoever renames what: for ourselves, not for programs that we start. */
  paths: Paths;
  /** The same by its name, for what is done with no more rights than those of whoever owns the home. */
  named: Paths;
}

/**
 * Makes a place in the home, for each app takes its place by a rename, which goes no further than a file system. Where apps
 * have users, we are root, and the home belongs to somebody who may move the place away and put another, or a link, under
 * its name: so it is held open, and nobody else can enter it.
 */
export async function makeStaging({ home }: Paths, { isolated }: Owners): Promise<Staging> {
  const path = temporaryBeside(join(home, 'restore'));
  if (!isolated) {
    await mkdir(path, { mode: 0o700 });
    const paths = new Paths(path);
    return { paths, named: paths, [Symbol.asyncDispose]: () => removeTree(path) };
  }
  // The server, which sweeps the home, may not remove what is root's.
  for (const name of await leftTemporaries(home)) await remove(join(home, name));
  await mkdir(path, { mode: 0o700 });
  const held = hold(home, basename(path));
  return {
    paths: new Paths(held.path),
    named: new Paths(path),
    async [Symbol.asyncDispose]() {
      held[Symbol.dispose]();
      await remove(path);
    },
  };
}

/** Removes what others may turn into links meanwhile: Node.js goes by paths, `rm` does not. */
export async function remove(path: string): Promise<void> {
  await run('rm', ['-rf', '--', path]);
}

function hold(home: string, name: string): PinnedDirectory {
  using above = PinnedDirectory.at(home);
  const held = above.open(name);
  if (held.isOnlyRoots && readdirSync(held.path).length === 0) return held;
  held[Symbol.dispose]();
  throw new AppError('files_obstructed', `${join(home, name)} is not what was made there a moment ago`, {
    hint: 'Something changes the home meanwhile. Nothing was restored: see what it is, then try again.',
  });
}

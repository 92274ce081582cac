import { join } from 'node:path';
import { shown } from '../build/receive/archive-errors.ts';
import { AppError } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { listSome } from '../system/text/format.ts';

/** So many are named; the rest is counted. */
const named = 3;

/**
 * Makes sure that nothing is missing that git keeps elsewhere and that nobody fetches: content of git-lfs, and
 * submodules. An app that starts without it would fail later, and less clearly.
 * @param root of the tree in the repository, to which `submodules` are relative; `lfsPointers` are relative to the tree
 * @throws AppError `lfs_not_fetched`, `submodules_not_fetched`
 */
export async function assertComplete(
  tree: string,
  { root, lfsPointers, submodules }: { root: string; lfsPointers: string[]; submodules: string[] },
): Promise<void> {
  if (lfsPointers.length > 0) {
    throw new AppError(
      'lfs_not_fetched',
      `git-lfs keeps the content of ${listSome(lfsPointers, named, shown)} elsewhere, and Sluice does not fetch from there`,
      {
        hint: 'Take them out of git-lfs (`git lfs migrate export`), leave out those that the app does not need with `export-ignore` in .gitattributes, or send a directory that has them: `sluice deploy`.',
      },
    );
  }
  const inTree = submodules.flatMap((path) => (root === '' ? path : below(root, path)));
  const missing: string[] = [];
  // One that export-ignore leaves out is not there at all.
  for (const path of inTree) if (await exists(join(tree, path))) missing.push(path);
  if (missing.length === 0) return;
  throw new AppError(
    'submodules_not_fetched',
    `${listSome(missing, named, shown)}: ${missing.length === 1 ? 'a submodule' : 'submodules'}, and Sluice does not fetch those`,
    {
      hint: 'Put the files into the repository itself (a directory with a .git of its own is taken for a submodule by `git add`), depend on it as a package, or leave it out with `export-ignore` in .gitattributes. `sluice deploy` sends a directory with its submodules.',
    },
  );
}

/** Where a submodule lies in the tree: `.` where the tree itself is one, or a part of it. */
function below(root: string, path: string): string[] {
  if (`${root}/`.startsWith(`${path}/`)) return ['.'];
  return path.startsWith(`${root}/`) ? [path.slice(root.length + 1)] : [];
}

import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { counted, listSome } from '../../system/text/format.ts';
import { shown } from './archive-errors.ts';
import type { ReceivedArchive } from './receive.ts';

/**
 * Returns notices about a received archive.
 * @param isFromGit true if git has made the archive
 * @throws AppError `lfs_not_fetched`
 */
export function checkReceived(
  { lfsPointers, macFiles }: Pick<ReceivedArchive, 'lfsPointers' | 'macFiles'>,
  isFromGit: boolean,
): Notice[] {
  assertNoLfsPointers(lfsPointers);
  return macFiles === null ? [] : [leftOut(macFiles, isFromGit)];
}

function leftOut({ count, first }: NonNullable<ReceivedArchive['macFiles']>, isFromGit: boolean): Notice {
  const others = count === 1 ? '' : ` and ${counted(count - 1, 'other')}`;
  return {
    code: 'mac_files_left_out',
    message: `Left out ${shown(first)}${others}: only macOS uses such files`,
    hint: isFromGit
      ? 'Remove them from git with `git rm --cached`, and add `.DS_Store` and `._*` to .gitignore.'
      : 'To make archives without them on macOS: `COPYFILE_DISABLE=1 tar --exclude .DS_Store …`, or `sluice deploy`.',
  };
}

/** Number of paths that an error names. */
const maxNamed = 3;

/** An app without the content of such files would fail later, and less clearly. @throws AppError `lfs_not_fetched` */
function assertNoLfsPointers(paths: string[]): void {
  if (paths.length === 0) return;
  throw new AppError(
    'lfs_not_fetched',
    `git-lfs keeps the content of ${listSome(paths, maxNamed, shown)} elsewhere, and Sluice does not fetch from there`,
    {
      hint: 'Move them out of git-lfs (`git lfs migrate export`), leave out those that the app does not need with `export-ignore` in .gitattributes, or send a directory that has them: `sluice deploy`.',
    },
  );
}

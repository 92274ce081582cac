import { recordsName } from '../../releases/directory.ts';
import { shown, unreadable, unsafe } from './archive-errors.ts';

/** PATH_MAX of Linux, its NUL not counted: no longer path can be opened, or be the target of a link. */
const maxPathBytes = 4095;

/**
 * The path of an entry, or of what a hard link points at, relative to the archive's root and without `.` and empty
 * parts; empty for the root itself.
 * @throws AppError `archive_unsafe` where it is absolute, leaves the root, or would be one of our own records
 */
export function entryPath(path: string): string {
  if (path.startsWith('/')) throw unsafe(`${shown(path)} is an absolute path`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw unsafe(`${shown(path)} has ".." in it`);
  if (parts[0] === recordsName) throw reservedName(path);
  assertName(path);
  // How `tar --sparse` names what it has cut holes out of (GNU tar manual, "PAX Format, Version 1.0").
  if (/(?:^|\/)GNUSparseFile\.\d+\//.test(path)) {
    throw unreadable(`${shown(path)} is a sparse file`, { hint: 'Make the archive without --sparse.' });
  }
  return parts.join('/');
}

/** @throws AppError where the text of a path, or of a link's target, cannot be one */
export function assertName(path: string): void {
  if (Buffer.byteLength(path) > maxPathBytes) {
    throw unsafe(`${shown(path)} is longer than ${maxPathBytes} bytes`);
  }
  if (path.includes('\0')) throw unreadable(`the name ${shown(path)} has a NUL byte in it`);
  // What the parser puts where bytes are no UTF-8: the name on the disk would be another one.
  if (path.includes('\uFFFD')) {
    throw unreadable(`the name ${shown(path)} is not UTF-8`, {
      hint: 'Rename the file, or leave it out of the archive.',
    });
  }
}

export function reservedName(path: string): Error {
  return unsafe(`${shown(path)} is where Sluice keeps its own records`);
}

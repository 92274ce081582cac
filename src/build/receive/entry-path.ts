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

/** Symbolic links of an archive: path, relative to its root and without `.` and `..`, and target as written. */
type Links = ReadonlyMap<string, string>;

/** More links than this in one lookup are ELOOP on Linux: such a path leads nowhere. */
const maxHops = 40;

/** Path components looked at for all links of an archive together; node_modules of pnpm takes some 100,000. */
const maxSteps = 2_000_000;

/**
 * Judges every link by where it really leads, followed the way the kernel does: what is lexically inside may pass
 * through another link and lead out, as `a/b/l -> ../..` with `x -> a/b/l/..` does. One that dangles is fine.
 * All links are known and no other path of a fresh tree is a link, so the disk need not be asked.
 * @param folder directory that has all the links, and that no link may leave; empty for the root
 * @throws AppError `archive_unsafe`
 */
export function assertLinksStayInside(links: Links, folder = ''): void {
  const budget = { steps: maxSteps };
  const depth = folder === '' ? 0 : folder.split('/').length;
  for (const [path, target] of links) {
    if (!staysInside(path, links, depth, budget)) {
      const shownPath = shown(folder === '' ? path : path.slice(folder.length + 1));
      throw unsafe(`${shownPath} links to ${shown(target)}, which leads outside the archive`);
    }
  }
}

/** @param depth number of names in the path of the directory that links may not leave */
function staysInside(link: string, links: Links, depth: number, budget: { steps: number }): boolean {
  const names = link.split('/');
  const at = names.slice(0, depth);
  const ahead = names.slice(depth).reverse();
  let hops = 0;
  for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
    if (--budget.steps < 0)
      throw unsafe(`the links of the archive are too tangled to follow, at ${shown(link)}`);
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (at.length === depth) return false;
      at.pop();
      continue;
    }
    at.push(part);
    const target = links.get(at.join('/'));
    if (target === undefined) continue;
    if (target.startsWith('/')) return false;
    if (++hops > maxHops) return true;
    at.pop();
    ahead.push(...target.split('/').reverse());
  }
  return true;
}

import { recordsName } from '../../releases/directory.ts';
import { shown, unreadable, unsafe } from './archive-errors.ts';

/** Linux's PATH_MAX without the final NUL. Longer paths cannot be opened or be the target of a link. */
const maxPathBytes = 4095;

/**
 * Returns the path of an entry, or of the target of a hard link, relative to the root of the archive. Removes `.` and empty
 * parts; returns '' for the root itself.
 * @throws AppError `archive_unsafe` if the path is absolute, leaves the root, or is a record of Sluice
 */
export function entryPath(path: string): string {
  if (path.startsWith('/')) throw unsafe(`${shown(path)} is an absolute path`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw unsafe(`${shown(path)} contains ".."`);
  if (parts[0] === recordsName) throw reservedName(path);
  assertName(path);
  return parts.join('/');
}

/** @throws AppError if a text cannot be a path or the target of a link */
export function assertName(path: string): void {
  if (Buffer.byteLength(path) > maxPathBytes) {
    throw unsafe(`${shown(path)} is longer than ${maxPathBytes} bytes`);
  }
  if (path.includes('\0')) throw unreadable(`the name ${shown(path)} contains a NUL byte`);
  // The parser replaces bytes that are not UTF-8 with this character. The file would get another name.
  if (path.includes('\uFFFD')) {
    throw unreadable(`the name ${shown(path)} is not UTF-8`, {
      hint: 'Rename the file, or leave it out of the archive.',
    });
  }
}

export function reservedName(path: string): Error {
  return unsafe(`${shown(path)} is reserved for records of Sluice`);
}

/** Symbolic links of an archive: path, relative to its root and without `.` and `..`, and target as written. */
type Links = ReadonlyMap<string, string>;

/** Limit of links in one lookup; Linux fails with ELOOP beyond it. */
const maxHops = 40;

/** Limit of path components for all links of an archive; node_modules of pnpm takes some 100,000. */
const maxSteps = 2_000_000;

/**
 * Checks that no link leaves a directory. Follows each link as the kernel does: a target that looks inside may pass through
 * another link and leave, as `a/b/l -> ../..` with `x -> a/b/l/..` does. Accepts dangling links. All links are known, and no
 * other path of a new tree is a link, so this function does not read the disk.
 * @param folder directory that has all the links; '' for the root
 * @throws AppError `archive_unsafe`
 */
export function assertLinksStayInside(links: Links, folder: string): void {
  const budget = { steps: maxSteps };
  const depth = folder === '' ? 0 : folder.split('/').length;
  for (const [path, target] of links) {
    if (staysInside(path, links, depth, budget)) continue;
    const below = path.split('/').slice(depth).join('/');
    throw unsafe(`${shown(below)} links to ${shown(target)}, which is outside the archive`);
  }
}

/** @param depth number of names in the path of the directory that links may not leave */
function staysInside(link: string, links: Links, depth: number, budget: { steps: number }): boolean {
  const names = link.split('/');
  const at = names.slice(0, depth);
  const ahead = names.slice(depth).reverse();
  let hops = 0;
  for (let part = ahead.pop(); part !== undefined; part = ahead.pop()) {
    if (--budget.steps < 0) throw unsafe(`the links of the archive are too complex to check: ${shown(link)}`);
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

import { shown, unsafe } from './archive-errors.ts';

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

import { isName } from '../config/paths.ts';

/** Names that have another meaning in the log. */
const reserved = ['web', 'cron'];

/**
 * Returns valid and different names for background processes: `Mail_Worker` → `mail-worker`. A valid name stays, and the others
 * depend only on the given names and their order.
 */
export function processNames(names: string[]): string[] {
  const taken = new Set(reserved);
  const kept = new Set(names.filter((name) => isName(name) && !taken.has(name)));
  return names.map((name) => {
    if (kept.delete(name)) {
      taken.add(name);
      return name;
    }
    const base = likeName(name);
    let unique = base;
    for (let number = 2; taken.has(unique) || kept.has(unique); number += 1) unique = `${base}-${number}`;
    taken.add(unique);
    return unique;
  });
}

/** Returns a valid name that is like another, with space for a number. */
function likeName(name: string): string {
  const like = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 36)
    .replace(/-$/, '');
  return isName(like) ? like : 'process';
}

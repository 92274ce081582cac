import { basename, posix } from 'node:path';
import { matchesPath } from '../../config/workspace-patterns.ts';
import type { Member } from '../../config/workspaces.ts';

/**
 * Returns the members of a workspace that a selector names, as in `npm -w apps/web`, `pnpm --filter web...`,
 * `turbo --filter=./apps/*` and `nx serve web`. Package managers differ in details; where a name could mean two members, the
 * exact name of a package wins, then a name without its scope, then the name of a directory.
 * @param at working directory, relative to the workspace, for selectors that are paths
 */
export function selectMembers(members: Member[], selector: string, at = ''): Member[] {
  // `web...` and `...^web` add dependencies or dependents, `[main]` the changed ones: none of them starts.
  const text = selector.replace(/^(?:\.\.\.)?\^?/, '').replace(/\^?(?:\.\.\.)?(?:\[[^\]]*\])?$/, '');
  const path = text.replace(/^\{(.*)\}$/, '$1');
  if (path !== text || /^\.{0,2}\//.test(path) || (path.includes('/') && !path.startsWith('@'))) {
    const segments = posix.join(at, path).replace(/\/$/, '').split('/');
    const exact = members.filter(({ directory }) => matchesPath(segments, directory.split('/')));
    if (exact.length > 0) return exact;
    return members.filter(({ directory }) => matchesPath([...segments, '**'], directory.split('/')));
  }
  const tests: ((member: Member) => boolean)[] = [
    ({ name }) => name === text,
    ({ name }) => name.startsWith('@') && name.endsWith(`/${text}`),
    ({ directory }) => basename(directory) === text,
    ({ name }) => text.includes('*') && matchesPath(text.split('/'), name.split('/')),
  ];
  return tests.map((test) => members.filter(test)).find((found) => found.length > 0) ?? [];
}

import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { isMissing } from '../../system/fs/read-file.ts';

/** Test of a path relative to a root; a directory has a slash at its end. */
export type PathTest = (path: string) => Promise<boolean>;

/** Returns a test for the paths that .git/info/exclude and the .gitignore files below `root` exclude. */
export function ignoredIn(root: string): PathTest {
  const isExcluded = rulesOf(async (directory) => {
    const rules = ignore.default();
    if (directory === '') rules.add(await textOf(join(root, '.git/info/exclude')));
    return rules.add(await textOf(join(root, directory, '.gitignore')));
  });
  // No rule applies again what is in an excluded directory.
  return async function isIgnored(path): Promise<boolean> {
    const parent = dirname(path);
    return (parent !== '.' && (await isIgnored(`${parent}/`))) || isExcluded(path);
  };
}

/**
 * Returns a test for the paths that have `export-ignore` in the .gitattributes files below `root`, if the directories above
 * them have not. `git archive`, and so a push, excludes the same files.
 */
export function exportIgnoredIn(root: string): PathTest {
  return rulesOf(async (directory) => {
    const text = await textOf(join(root, directory, '.gitattributes'));
    return ignore.default({ ignorecase: false }).add(text.split(/\r?\n/).flatMap(toRule));
  });
}

/** @param read returns the rules of a directory, for paths relative to it; the rules closest to a path win */
function rulesOf(read: (directory: string) => Promise<Ignore>): PathTest {
  const known = new Map<string, Promise<Ignore>>();
  return async (path) => {
    let matches = false;
    let start = 0;
    do {
      const directory = path.slice(0, start);
      const rules = known.get(directory) ?? read(directory);
      known.set(directory, rules);
      const { ignored, unignored } = (await rules).test(path.slice(start));
      matches = ignored || (matches && !unignored);
      start = path.indexOf('/', start) + 1;
    } while (start > 0 && start < path.length);
    return matches;
  };
}

/**
 * Converts a line that sets or unsets `export-ignore` to a rule of .gitignore. The patterns are those of .gitignore without
 * `!`: gitattributes(5).
 */
function toRule(line: string): string[] {
  const [, quoted, plain, attributes = ''] =
    /^\s*(?:"((?:[^"\\]|\\.)+)"|([^#\s]\S*))\s+(.+)$/.exec(line) ?? [];
  const pattern = quoted ?? plain;
  if (pattern === undefined || pattern.startsWith('!')) return [];
  const words = attributes.trim().split(/\s+/);
  // git ignores a line with an invalid attribute; a line has no comment at its end.
  if (!words.every((word) => /^[-!]?[\w.-]+(?:=.*)?$/.test(word))) return [];
  const last = words.findLast((word) => /^[-!]?export-ignore$/.test(word));
  if (last === undefined) return [];
  return last === 'export-ignore' ? [pattern] : [`!${pattern}`];
}

/** Returns the text of a file; an empty text if there is none that can be read. */
function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return '';
  });
}

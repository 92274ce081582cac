import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { ifThere } from '../../system/fs/exists.ts';

/**
 * Rules of `export-ignore` in the .gitattributes files of a directory. `git archive`, and so a push, excludes the same files.
 * The patterns are those of .gitignore without `!`: gitattributes(5).
 */
export class ExportIgnore {
  readonly #root: string;
  readonly #rules = new Map<string, Promise<Ignore | undefined>>();

  constructor(root: string) {
    this.#root = root;
  }

  /** @param path relative to the root, with a slash at the end of a directory; the directories above it are not excluded */
  async excludes(path: string): Promise<boolean> {
    const parts = path.split('/').filter((part) => part !== '');
    let excluded = false;
    // The rules closest to the file win.
    for (let depth = 0; depth < parts.length; depth += 1) {
      const directory = parts.slice(0, depth).join('/');
      const rules = await this.#rulesIn(directory);
      const result = rules?.test(path.slice(directory === '' ? 0 : directory.length + 1));
      if (result?.ignored) excluded = true;
      if (result?.unignored) excluded = false;
    }
    return excluded;
  }

  #rulesIn(directory: string): Promise<Ignore | undefined> {
    const known = this.#rules.get(directory) ?? this.#read(directory);
    this.#rules.set(directory, known);
    return known;
  }

  async #read(directory: string): Promise<Ignore | undefined> {
    return parse((await ifThere(readFile(join(this.#root, directory, '.gitattributes'), 'utf8'))) ?? '');
  }
}

/** Converts the lines that set or unset the attribute to rules of .gitignore. */
function parse(text: string): Ignore | undefined {
  const rules = text.split(/\r?\n/).flatMap((line) => {
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
  });
  return rules.length === 0 ? undefined : ignore.default({ ignorecase: false }).add(rules);
}

import { parseEnv } from 'node:util';

/**
 * Returns the names of variables in the text of a file such as .env whose values end at a `#` that may belong to the value:
 * `KEY=abc#def` is `abc`. A `#` after a space begins a comment.
 */
export function cutValues(text: string): string[] {
  const values = parseEnv(text);
  const cut: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const [, name = '', before = ''] =
      /^\s*(?:export\s+)?([\w.-]+)\s*=[ \t]*(?!\$')([^'"`\s#][^#]*)?#\S/.exec(line) ?? [];
    if (name !== '' && !/\s$/.test(before) && values[name] === before) cut.push(name);
  }
  return cut;
}

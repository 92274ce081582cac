import { basename } from 'node:path';
import { changedOne, collection, fields, name } from './module-state.ts';

/** Class whose objects keep data. */
interface KeepingClass {
  /** in lower case, because a module may import the class of db.js as `Db` or `DB` */
  name: string;
  /** field that keeps the data */
  field: string;
}

const declared = new RegExp(
  `^(?:export (?:default )?|(?:module\\.)?exports(?:\\.${name})? = )?(?:abstract )?class\\b(?: (?!extends\\b)(${name}))?`,
  'gm',
);
/** Assignment of a collection to a field, in a constructor. */
const assigned = new RegExp(`^[ \\t]+this\\.(#?${name}) = (?:${collection})`, 'gm');
const made = new RegExp(
  `^(?:export )?(?:default |(?:const|let|var) ${name}(?:: ?${name})? = |(?:module\\.)?exports(?:\\.${name})? = )new (?:${name}\\.)?(${name})`,
  'gm',
);

/** Returns the classes of a module with a method that changes a collection of its object. */
export function keepingClasses({ path, text }: { path: string; text: string }): KeepingClass[] {
  const starts = [...text.matchAll(declared)];
  return starts.flatMap(({ index, 1: its = basename(path).replace(/\..*$/, '') }, at) => {
    const body = text.slice(index, starts[at + 1]?.index);
    const all = [...body.matchAll(assigned), ...body.matchAll(fields)].map(([, field = '']) => field);
    const isNoStart = (line: string) => line.search(assigned) === -1;
    const field = changedOne(all, '\\bthis\\.', body.split('\n'), isNoStart);
    return field === undefined ? [] : [{ name: its.toLowerCase(), field }];
  });
}

/** Returns the names, in lower case, of the classes that a module instantiates while it loads. */
export function madeWhileLoading(text: string): string[] {
  return [...text.matchAll(made)].map(([, its = '']) => its.toLowerCase());
}

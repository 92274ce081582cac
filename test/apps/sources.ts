import { join } from 'node:path';
import { type Files, readTree } from '../support/tree.ts';

/** The files of the app `name`, as a repository would hold them. */
export async function sourcesOf(name: string): Promise<Files> {
  const tree = await readTree(join(import.meta.dirname, 'sources', name));
  return Object.fromEntries(Object.entries(tree).filter(([, content]) => content !== null));
}

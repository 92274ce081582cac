import { join } from 'node:path';
import { type Files, readTree } from '../support/tree.ts';

/** Returns the files of the app `name`, as they would be in its repository. */
export async function sourcesOf(name: string): Promise<Files> {
  const tree = await readTree(join(import.meta.dirname, 'sources', name));
  return Object.fromEntries(Object.entries(tree).filter(([, content]) => content !== null));
}

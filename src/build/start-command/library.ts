import { dirname, join } from 'node:path';
import { listens, startsServer } from './listens.ts';
import { resolveFile } from './program.ts';
import { type Project, readText, staysInside } from './project.ts';

/** Text of a file that exports something: the main file of an app most often exports nothing. */
const gives = /\bmodule\.exports\b|\bexports\.|^\s{0,99}export\s/m;

/** Line that calls what a file has imported, as in `require("./server").start()`, once the imports themselves are replaced. */
const calls = /^(?!\s|\/|\*|Object\.)(?:(?!\bfunction\b|=>|\b__).)*[\w$)]\(/m;

/** Path that a file of JavaScript loads, relative to its directory. */
const loads = /\b(?:require|import|from)\s{0,9}\(?\s{0,9}["'](\.{1,2}(?:\/[^"'\n]{0,200})?)["']/g;

/** Import of a package. */
const packages = /\brequire\(\s{0,9}["'][^"'\n]{0,200}["']\s{0,9}\)/g;

/** Limit of the paths of a program that are compared. */
const maxPaths = 200;

/**
 * Returns true if a file is a library that a program loads: then the program is the app. Many packages have such a library as "main",
 * and the program that starts it as "bin".
 * @param library relative to the release, as `program`
 */
export async function isLibraryOf(project: Project, library: string, program: string): Promise<boolean> {
  const main = (await readText(project, library)) ?? '';
  if (library === program || !gives.test(main)) return false;
  if (startsServer(main) || (callsImports(main) && (await listens(project, library)))) return false;
  const text = (await readText(project, program)) ?? '';
  let paths = 0;
  for (const [, path = ''] of text.matchAll(loads)) {
    if (++paths > maxPaths) return false;
    const target = join(dirname(program), path);
    if (staysInside(target) && (await resolveFile(project.root, target)) === library) return true;
  }
  return false;
}

/** Returns true if a file calls something when it is loaded: a library only defines things. */
function callsImports(text: string): boolean {
  return calls.test(text.replaceAll(loads, 'imported').replaceAll(packages, ''));
}

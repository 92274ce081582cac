import { join, normalize } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import type { StaticPlan } from '../../releases/release.ts';
import { listSome } from '../../system/text/format.ts';
import { buildHint } from '../compile-script.ts';
import { directoriesIn, expand, findIndexes, indexName, isDirectory, isFile, textOf } from './files.ts';
import type { StaticSite } from './find.ts';
import { usualOutputs } from './tools.ts';

/**
 * Returns how to serve a site whose files exist now, after the build.
 * @throws AppError `nothing_to_run`
 */
export async function placeStaticSite(tree: string, site: StaticSite): Promise<StaticPlan> {
  const directory = await findDirectory(tree, site);
  if (directory === undefined) throw await siteMissing(tree, site);
  const at = join(tree, directory);
  const has200 = await isFile(join(at, '200.html'));
  const fallback = has200 ? '200.html' : site.spa ? indexName : null;
  return { directory, fallback, base: await findBase(at) };
}

/** Describes how a site is served, for the log: `serves dist as a single-page app (Vite)`. */
export function describeSite({ from }: StaticSite, { directory, fallback, base }: StaticPlan): string {
  const what = directory === '.' ? 'the files of the release' : directory;
  const at = base === '/' ? '' : ` at ${base}`;
  return `serves ${what}${at}${fallback === null ? '' : ' as a single-page app'} (${from})`;
}

async function findDirectory(
  tree: string,
  { directories, isNamed }: StaticSite,
): Promise<string | undefined> {
  if (isNamed) {
    const [named = ''] = directories;
    return (await isDirectory(join(tree, named))) ? named : undefined;
  }
  for (const pattern of [...directories, ...usualOutputs]) {
    for (const place of await expand(tree, pattern)) {
      if (await isFile(join(tree, place, indexName))) return place;
    }
  }
  return undefined;
}

/** Number of directories that an error names. */
const maxNamed = 8;

async function siteMissing(
  tree: string,
  { from, directories, isNamed, script }: StaticSite,
): Promise<AppError> {
  const [expected = ''] = directories;
  const message = isNamed
    ? `${from} names the directory ${expected}, which does not exist`
    : `there is nothing to serve: ${from} writes ${join(expected, indexName)}, and that file does not exist`;
  if (script !== undefined) return new AppError('nothing_to_run', message, { hint: buildHint(script) });
  const found = await findIndexes(tree);
  const [first] = found;
  const hint =
    first === undefined
      ? `Check that the "build" script of package.json writes the site, and set "static" in sluice.json to its directory. Directories of the release: ${listSome(await directoriesIn(tree), maxNamed) || 'none'}.`
      : `Set \`"static": ${JSON.stringify(first)}\` in sluice.json if the site is there. Directories with an index.html: ${listSome(found, maxNamed)}.`;
  return new AppError('nothing_to_run', message, { hint });
}

/** Limits of the search for links in a page: their number, and the depth of a base. */
const limits = { links: 20, depth: 3 };

/** Link of a page to a script or a style by an absolute path. The first group is the path. */
const link = /\b(?:src|href)=["']?(\/[^/"'\s<>?#][^"'\s<>?#]{0,500}\.(?:js|mjs|css))\b/g;

/**
 * Returns the path at which the pages of a site expect the site. A site for GitHub Pages, for example, has links such as
 * `/repository/assets/index.js`, and the file is `assets/index.js`.
 * @param site absolute path of its directory
 */
async function findBase(site: string): Promise<string> {
  const html = await textOf(site, indexName);
  let base: string | undefined;
  for (const [, path = ''] of html.matchAll(link).take(limits.links)) {
    if (normalize(path) !== path) continue;
    if (await isFile(join(site, path))) return '/';
    const names = path.split('/').slice(1);
    for (let depth = 1; depth <= limits.depth && depth < names.length && base === undefined; depth += 1) {
      if (await isFile(join(site, ...names.slice(depth)))) base = `/${names.slice(0, depth).join('/')}/`;
    }
  }
  return base ?? '/';
}

import { lstat, opendir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { EarlierAssets } from '../releases/release.ts';
import { isHashed } from '../static/hashed.cjs';
import { isMissing } from '../system/fs/read-file.ts';
import { directoriesIn } from './static-site/files.ts';

/** Directories in which a framework writes only files for browsers whose path depends on their content. */
const hashedDirectories: { directory: string; listed?: string }[] = [
  // Next.js
  { directory: '.next/static' },
  { directory: '.next/standalone/.next/static' },
  { directory: 'out/_next/static' },
  // Nuxt. The server of Nitro sends only files that its build has listed; `listed` is the end of their URL.
  { directory: '.output/public/_nuxt', listed: '/_nuxt/' },
  { directory: 'dist/_nuxt' },
  // SvelteKit. The server of adapter-node 6 does the same.
  { directory: 'build/client/_app/immutable', listed: '/_app/immutable/' },
  { directory: 'build/_app/immutable' },
  // Astro
  { directory: 'dist/client/_astro' },
  { directory: 'dist/_astro' },
];

/** Directories of build tools that also have files without a hash in their name, such as copies of a directory `public`. */
const mixedDirectories = [
  // Vite and what builds with it
  'dist/assets',
  'dist/client/assets',
  'dist/public/assets',
  'build/client/assets',
  // create-react-app
  'build/static',
  // Vue CLI, webpack
  'dist/js',
  'dist/css',
  'dist/img',
  'dist/static',
  // Remix 1, Vite with Laravel or Rails
  'public/build',
];

/** Limits of a search: the number of entries that it visits, of files that it finds, and of characters of their paths. */
const limits = { entries: 50_000, files: 20_000, characters: 2_000_000, parents: 60 };

interface AssetSources {
  /** directories of the setting `assets`, relative to the release */
  assets: string[];
  /** directory of a static site, relative to the release */
  site: string | undefined;
}

/**
 * Returns the files of a built release that pages of this release load by a path that depends on their content; relative to
 * the release, and without links. A release may have any number of files: the search ends at its limits.
 */
export async function findAssets(tree: string, { assets, site }: AssetSources): Promise<string[]> {
  const found = new Set<string>();
  const search = new Search(tree, found);
  for (const directory of assets) await search.visit(directory, () => true);
  for (const parent of await parents(tree)) {
    for (const { directory } of hashedDirectories) await search.visit(join(parent, directory), () => true);
    for (const directory of mixedDirectories) await search.visit(join(parent, directory), isHashed);
  }
  if (site !== undefined) await search.visit(site, isHashed);
  return [...found];
}

/**
 * Returns the directories of files of earlier releases that the server of the app would not find, because it sends only files that
 * its build has listed.
 * @param paths of the files, relative to the release
 */
export function unlistedAssets(paths: string[]): EarlierAssets[] {
  const found = new Map<string, EarlierAssets>();
  for (const { directory, listed: url } of hashedDirectories) {
    if (url === undefined) continue;
    for (const path of paths) {
      const at = `/${path}`.indexOf(`/${directory}/`);
      const place = path.slice(0, at + directory.length);
      if (at !== -1) found.set(place, { directory: place, url });
    }
  }
  return [...found.values()];
}

/** Returns directories that may have an app: the release, and members of a workspace. */
async function parents(tree: string): Promise<string[]> {
  const inside = ['apps', 'packages'].map(async (group) =>
    (await directoriesIn(join(tree, group))).map((name) => join(group, name)),
  );
  return ['.', ...(await directoriesIn(tree)), ...(await Promise.all(inside)).flat()].slice(
    0,
    limits.parents,
  );
}

class Search {
  readonly #tree: string;
  readonly #found: Set<string>;
  #entries = 0;
  #characters = 0;

  constructor(tree: string, found: Set<string>) {
    this.#tree = tree;
    this.#found = found;
  }

  /** Finds the files below a directory of the release. Visits no directory behind a link. */
  async visit(directory: string, isWanted: (path: string) => boolean): Promise<void> {
    if (!(await isRealDirectory(this.#tree, directory))) return;
    const directories = [directory];
    for (const each of directories) {
      for await (const entry of entriesOf(join(this.#tree, each))) {
        this.#entries += 1;
        if (this.#isFull) return;
        const path = join(each, entry.name);
        if (entry.isDirectory()) {
          if (entry.name !== 'node_modules' && !entry.name.startsWith('.')) directories.push(path);
        } else if (entry.isFile() && isWanted(path)) this.#add(path);
      }
    }
  }

  get #isFull(): boolean {
    const { entries, files, characters } = limits;
    return this.#entries > entries || this.#found.size >= files || this.#characters > characters;
  }

  #add(path: string): void {
    // A name that is not UTF-8 cannot be found again.
    if (path.includes('\uFFFD') || this.#found.has(path)) return;
    this.#found.add(path);
    this.#characters += path.length;
  }
}

async function isRealDirectory(tree: string, directory: string): Promise<boolean> {
  try {
    const path = join(tree, directory);
    if (!(await lstat(path)).isDirectory()) return false;
    return (await realpath(path)) === join(await realpath(tree), directory);
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function* entriesOf(directory: string) {
  try {
    yield* await opendir(directory);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

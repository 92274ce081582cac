import { readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { isMissing } from '../../system/fs/read-file.ts';

/** Fields of an installed package.json that a prune reads. */
interface InstalledPackage {
  /** absolute, without links */
  directory: string;
  /** names that the package needs at run time, including optional and peer dependencies */
  dependencies: string[];
  devDependencies: string[];
  /** names of its programs */
  programs: string[];
}

/** Directories in node_modules with one slot for each package and its peers: of pnpm, yarn and bun. */
const stores = new Set(['.pnpm', '.store', '.bun']);

/** Limit of the size of a package.json, in bytes. */
const maxManifestBytes = 4 * 1024 ** 2;

/** Installed packages of a release, found as Node.js finds them: in the node_modules directories upwards. */
export class InstalledPackages {
  /** top of the release, without links */
  readonly root: string;
  readonly #lockedDependencies: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #packages = new Map<string, InstalledPackage>();
  readonly #found = new Map<string, string | undefined>();

  /** @param locked names of dependencies that the lockfile adds to those in the package.json of a package, by its name */
  constructor(root: string, locked: ReadonlyMap<string, ReadonlySet<string>> = new Map()) {
    this.root = realpathSync(root);
    this.#lockedDependencies = locked;
  }

  /** Returns the package in a directory. A directory without a valid package.json has no dependencies. */
  at(directory: string): InstalledPackage {
    let found = this.#packages.get(directory);
    if (found === undefined) {
      found = this.#read(directory);
      this.#packages.set(directory, found);
    }
    return found;
  }

  /** Returns the directory of the package that `require(name)` finds in `directory`; undefined if it is not in the release. */
  resolve(name: string, directory: string): string | undefined {
    for (let at = directory; this.isInside(at); at = dirname(at)) {
      if (basename(at) === 'node_modules') continue;
      const found = this.#realDirectory(join(at, 'node_modules', name));
      if (found !== undefined) return this.isInside(found) ? found : undefined;
    }
    return undefined;
  }

  /** Returns true for the top of the release and everything below. */
  isInside(path: string): boolean {
    return path === this.root || path.startsWith(`${this.root}${sep}`);
  }

  /** Returns true if a package manager has put a directory in node_modules; false for the app itself and its members. */
  isInstalled(directory: string): boolean {
    return relative(this.root, directory).split(sep).includes('node_modules');
  }

  /**
   * Returns the directory that exists only for this package: itself, or the slot of a store, where links to its dependencies lie
   * beside it.
   */
  unitOf(directory: string): string {
    const modules = nodeModulesOf(directory);
    const slot = dirname(modules);
    return stores.has(basename(dirname(slot))) ? slot : directory;
  }

  #read(directory: string): InstalledPackage {
    const fields = readManifest(join(directory, 'package.json'));
    const name = typeof fields['name'] === 'string' ? fields['name'] : basename(directory);
    const { bin } = fields;
    const needed = [
      ...namesOf(fields['dependencies']),
      ...namesOf(fields['optionalDependencies']),
      ...namesOf(fields['peerDependencies']),
      ...(this.isInstalled(directory) ? (this.#lockedDependencies.get(name) ?? []) : []),
    ];
    return {
      directory,
      dependencies: [...new Set(needed)].filter(isPackageName),
      devDependencies: namesOf(fields['devDependencies']).filter(isPackageName),
      programs: typeof bin === 'string' ? [name.replace(/^@[^/]+\//, '')] : namesOf(bin),
    };
  }

  #realDirectory(path: string): string | undefined {
    if (!this.#found.has(path)) this.#found.set(path, realDirectory(path));
    return this.#found.get(path);
  }
}

/** Returns the target of a path without links; undefined unless it is a directory. */
export function realDirectory(path: string): string | undefined {
  try {
    return statSync(path).isDirectory() ? realpathSync(path) : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Returns the node_modules directory that contains an installed package. */
export function nodeModulesOf(directory: string): string {
  const parent = dirname(directory);
  return basename(parent).startsWith('@') ? dirname(parent) : parent;
}

function readManifest(path: string): Record<string, unknown> {
  try {
    if (statSync(path).size > maxManifestBytes) return {};
    const content: unknown = JSON.parse(readFileSync(path, 'utf8').replace(/^\uFEFF/, ''));
    return typeof content === 'object' && content !== null ? (content as Record<string, unknown>) : {};
  } catch (error) {
    if (!(error instanceof SyntaxError || isMissing(error))) throw error;
    return {};
  }
}

function namesOf(field: unknown): string[] {
  return typeof field === 'object' && field !== null ? Object.keys(field) : [];
}

/** Returns true for names such as `ms` and `@types/node`, which cannot leave node_modules. */
function isPackageName(name: string): boolean {
  return /^(?:@[^/\\]+\/)?[^./\\@][^/\\]*$/.test(name);
}

import { lstatSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { isMissing } from '../../system/fs/read-file.ts';
import { InstalledPackages, nodeModulesOf, realDirectory } from './packages.ts';
import { yarnDependencies } from './yarn-dependencies.ts';

/** Facts about a release that a prune must know. */
export interface PruneRequest {
  /** absolute */
  root: string;
  /** directories of the members of a workspace, relative to the root; null without a workspace */
  members: string[] | null;
  /** programs that commands run after the build: the packages in devDependencies that have them stay */
  programs: string[];
  /** names of packages in devDependencies that stay */
  packages: string[];
  /** beginnings of names of packages in devDependencies that stay, such as `@types/` */
  prefixes: string[];
}

/** Result of the search for packages that only dev dependencies need. All paths are absolute. */
export interface DevPackages {
  /** directories to remove */
  directories: string[];
  /** links and scripts that would lead to a removed directory */
  links: string[];
  /** names of the packages in devDependencies that stay because of `programs` and `packages` */
  kept: string[];
}

/**
 * Finds the packages that only dev dependencies need. Reads files and changes none. Keeps every package that the production
 * dependencies of the app or of a member reach, and every package that neither reaches, such as a client that the build has
 * generated in node_modules.
 */
export function findDevPackages({ root, members, programs, packages, prefixes }: PruneRequest): DevPackages {
  const installed = new InstalledPackages(root, yarnDependencies(root));
  const projects = findProjects(installed, members);
  const retained = new Set<string>();
  const needed = (directory: string, names: string[]) =>
    names.flatMap((name) => installed.resolve(name, directory) ?? []);
  for (const project of projects) {
    retained.add(project);
    reach(installed, needed(project, installed.at(project).dependencies), retained);
  }

  const available = new Set(
    projects.flatMap((project) =>
      needed(project, installed.at(project).dependencies).flatMap((each) => installed.at(each).programs),
    ),
  );
  const missing = programs.filter((program) => !available.has(program));
  const kept = new Set<string>();
  const dev = new Set<string>();
  const isLinked = (directory: string) => !installed.isInstalled(directory);
  for (const project of [...retained].filter(isLinked)) {
    for (const name of installed.at(project).devDependencies) {
      const found = installed.resolve(name, project);
      if (found === undefined) continue;
      const isNamed =
        packages.includes(name) || installed.at(found).programs.some((each) => missing.includes(each));
      if (isNamed && !retained.has(found)) kept.add(name);
      if (isNamed || prefixes.some((prefix) => name.startsWith(prefix))) reach(installed, [found], retained);
      reach(installed, [found], dev, true);
    }
  }

  const removed = [...dev].filter((each) => !retained.has(each));
  // A directory of the app that node_modules links to, as for `file:./tools`, stays, and the link does not.
  const [linked, unpacked] = [removed.filter(isLinked), removed.filter((each) => !isLinked(each))];
  const directories = unitsOf(installed, unpacked, retained);
  const links = linksTo(installed, [...directories, ...linked], [...dev, ...retained]);
  return { directories, links, kept: [...kept] };
}

/**
 * Returns the directories of the app and of the members of its workspace, whose production dependencies stay. Members are also
 * found by the links of node_modules.
 */
function findProjects(installed: InstalledPackages, members: string[] | null): string[] {
  const { root } = installed;
  if (members === null) return [root];
  const real = members.flatMap((member) => realDirectory(join(root, member)) ?? []);
  const projects = new Set([root, ...real.filter((each) => installed.isInside(each))]);
  for (const project of projects) {
    for (const path of entriesOf(join(project, 'node_modules'))) {
      const target = isLink(path) ? realDirectory(path) : undefined;
      if (target === undefined || !installed.isInside(target) || installed.isInstalled(target)) continue;
      projects.add(target);
    }
  }
  return [...projects];
}

/** Adds packages, and all that their dependencies reach, to a set. */
function reach(installed: InstalledPackages, from: string[], into: Set<string>, withDev = false): void {
  const waiting = [...from];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (into.has(next)) continue;
    into.add(next);
    const { dependencies, devDependencies } = installed.at(next);
    // npm also installs the dev dependencies of a directory that node_modules links to.
    const dev = withDev && !installed.isInstalled(next) ? devDependencies : [];
    for (const name of [...dependencies, ...dev]) {
      const found = installed.resolve(name, next);
      if (found !== undefined) waiting.push(found);
    }
    // The slot of a store has exactly what the package manager gives to the package, also by rules outside of its package.json.
    if (installed.unitOf(next) !== next) {
      const beside = entriesOf(nodeModulesOf(next)).flatMap((path) => realDirectory(path) ?? []);
      waiting.push(...beside.filter((each) => installed.isInside(each)));
    }
  }
}

/** Returns the directories to remove for packages, without those that contain a retained package, and those inside others. */
function unitsOf(installed: InstalledPackages, removed: string[], retained: Set<string>): string[] {
  const above = new Set<string>();
  for (const each of retained) {
    for (let at = each; installed.isInside(at) && !above.has(at); at = dirname(at)) above.add(at);
  }
  const units = new Set(removed.map((each) => installed.unitOf(each)).filter((unit) => !above.has(unit)));
  return [...units].filter((unit) => !isBelow(dirname(unit), units, installed.root));
}

/** Returns links and scripts in the node_modules directories of `packages` that lead into removed directories. */
function linksTo(installed: InstalledPackages, directories: string[], packages: string[]): string[] {
  const removed = new Set(directories);
  const isRemoved = (path: string) => isBelow(path, removed, installed.root);
  const modules = new Set<string>();
  for (const each of packages) {
    modules.add(join(each, 'node_modules'));
    if (!installed.isInstalled(each)) continue;
    modules.add(nodeModulesOf(each));
    const unit = installed.unitOf(each);
    // pnpm links all packages of its store here, for packages that do not declare their dependencies.
    if (unit !== each) modules.add(join(dirname(unit), 'node_modules'));
  }
  return [...modules]
    .filter((directory) => !isRemoved(directory))
    .flatMap((directory) => [...entriesOf(directory), ...entriesOf(join(directory, '.bin'))])
    .filter((path) => targetsOf(path).some(isRemoved));
}

/** Returns what a link, or a script in .bin as pnpm writes it, leads to. */
function targetsOf(path: string): string[] {
  if (isLink(path)) return existing(path);
  if (basename(dirname(path)) !== '.bin') return [];
  const stats = lstatSync(path);
  if (!stats.isFile() || stats.size > maxScriptBytes) return [];
  return [...readFileSync(path, 'utf8').matchAll(/"\$basedir\/([^"\n]+)"/g)].flatMap(([, target = '']) =>
    existing(resolve(dirname(path), target)),
  );
}

/** Limit of the size of a script in .bin, in bytes. pnpm writes 1 to 4 KB. */
const maxScriptBytes = 65_536;

function existing(path: string): string[] {
  try {
    return [realpathSync(path)];
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Returns true if a directory is one of `directories`, or below one of them. */
function isBelow(path: string, directories: Set<string>, root: string): boolean {
  for (let at = path; at.startsWith(`${root}${sep}`); at = dirname(at)) {
    if (directories.has(at)) return true;
  }
  return false;
}

/** Returns the paths of the packages and links in a node_modules or .bin directory. Names with a dot are of tools. */
function entriesOf(directory: string): string[] {
  return namesIn(directory).flatMap((name) => {
    const path = join(directory, name);
    if (name.startsWith('.')) return [];
    return name.startsWith('@') ? namesIn(path).map((inScope) => join(path, inScope)) : [path];
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isLink(path: string): boolean {
  return lstatSync(path).isSymbolicLink();
}

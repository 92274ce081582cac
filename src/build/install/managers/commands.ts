import type { Lockfile } from '../package-manager.ts';

/** What it depends on how a package manager is called. */
export interface Project {
  /** of the package manager: exact, or a range */
  version: string;
  /** null where there is none, and the install has to choose versions itself */
  lockfile: Lockfile | null;
  /** has a pnpm-workspace.yaml of its own */
  pnpmWorkspace: boolean;
  /** brings its packages along, in .yarn/cache */
  yarnCache: boolean;
}

/** How a package manager is called. Builders of commands: none of these runs anything. */
export interface Commands {
  /** npm package and program */
  package: string;
  program: string;
  /** variables it runs with */
  env(project: Project): Record<string, string>;
  /**
   * Name of the variable with the directory of the cache. Set if each app needs a cache of its own: because a killed install
   * breaks the cache, or because a fault of one app clears the cache. Null if all apps share a cache.
   */
  cacheVariable: string | null;
  /** arguments that clear the cache; null if the package manager has no such command */
  clearCache: string[] | null;
  /** arguments that install exactly what the lockfile says, dev dependencies too, whatever NODE_ENV says */
  install(project: Project): string[];
  /** arguments that run a script of package.json */
  script(project: Project, name: string): string[];
  /** arguments that remove what only the build needed, without a look at the network; null where it cannot */
  prune(project: Project): string[] | null;
}

/** The first number of a version or simple range. */
export function major(version: string): number {
  return Number(/\d+/.exec(version)?.[0]);
}

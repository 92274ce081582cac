import type { Lockfile } from './package-manager.ts';
import type { Manager } from './versions.ts';

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

export const npm: Commands = {
  package: 'npm',
  program: 'npm',
  env: () => ({}),
  cacheVariable: null,
  clearCache: ['cache', 'clean', '--force'],

  install: (project) => [
    project.lockfile === null ? 'install' : 'ci',
    here,
    isOld(project) ? '--production=false' : '--include=dev',
    // Written by npm 6, which did not install peer dependencies and so never saw them disagree.
    ...(/"lockfileVersion": 1,/.test(project.lockfile?.content ?? '') ? ['--legacy-peer-deps'] : []),
    ...quiet,
  ],
  script: (_project, name) => ['run', here, name],
  prune: (project) => [
    'prune',
    here,
    isOld(project) ? '--production' : '--omit=dev',
    '--ignore-scripts',
    // It would write the lockfile anew, in its own format.
    '--no-save',
    ...quiet,
  ],
};

/** Otherwise npm looks above for a workspace that takes this directory in, and installs that instead. */
const here = '--prefix=.';

const quiet = ['--no-audit', '--no-fund', '--no-update-notifier'];

function isOld({ version }: Project): boolean {
  return major(version) < 7;
}

export const pnpm: Commands = {
  package: 'pnpm',
  program: 'pnpm',
  // It is the version package.json asks for, if that asks for any: pnpm need not check that, let alone fetch another.
  env: () => ({
    npm_config_manage_package_manager_versions: 'false',
    npm_config_package_manager_strict: 'false',
    pnpm_config_pm_on_fail: 'ignore',
  }),
  cacheVariable: null,
  clearCache: null,

  install: (project) => [
    ...alone(project),
    'install',
    project.lockfile === null ? '--no-frozen-lockfile' : '--frozen-lockfile',
    '--prod=false',
  ],
  script: (project, name) => [...alone(project), 'run', name],
  // Rather than `pnpm prune`, which leaves the packages of a workspace alone and, before 8.15.6, runs their scripts.
  prune: (project) => [
    ...alone(project),
    'install',
    '--prod',
    '--offline',
    '--frozen-lockfile',
    '--ignore-scripts',
    // Otherwise what is no longer needed stays for a week.
    '--config.modules-cache-max-age=0',
  ],
};

/** pnpm looks for a pnpm-workspace.yaml in every directory above, and installs that workspace instead. */
function alone({ pnpmWorkspace }: Project): string[] {
  return pnpmWorkspace ? [] : ['--ignore-workspace'];
}

export const yarnClassic: Commands = {
  package: 'yarn',
  program: 'yarn',
  // It refuses to run where package.json names another version or another package manager.
  env: () => ({ SKIP_YARN_COREPACK_CHECK: '1' }),
  // yarn 1 unpacks packages directly into the cache, so a killed install leaves half a package.
  cacheVariable: 'YARN_CACHE_FOLDER',
  clearCache: ['cache', 'clean'],

  install: ({ lockfile }) => [
    'install',
    ...(lockfile === null ? [] : ['--frozen-lockfile']),
    '--production=false',
    ...quietYarn,
  ],
  script: (_project, name) => ['run', name],
  // yarn 1 has no prune: an install without the dev dependencies removes them.
  prune: () => [
    'install',
    '--frozen-lockfile',
    '--production=true',
    '--ignore-scripts',
    '--prefer-offline',
    ...quietYarn,
  ],
};

const quietYarn = ['--non-interactive', '--no-progress'];

export const yarnBerry: Commands = {
  package: '@yarnpkg/cli-dist',
  program: 'yarn',
  env: ({ yarnCache }) => ({
    // Plug'n'Play ties what is installed to the directory and the cache it was installed from; a release moves.
    // A directory node_modules is what every program understands, and lockfiles are the same for both.
    YARN_NODE_LINKER: 'node-modules',
    // Before yarn 4 the cache lies in the project, and would stay in the release.
    ...(yarnCache ? {} : { YARN_ENABLE_GLOBAL_CACHE: 'true' }),
    YARN_ENABLE_PROGRESS_BARS: 'false',
    YARN_ENABLE_TELEMETRY: 'false',
    YARN_ENABLE_COLORS: 'false',
  }),
  // Sluice clears the cache if the checksum in one app's lockfile is wrong: see runInstall.
  cacheVariable: 'YARN_GLOBAL_FOLDER',
  clearCache: ['cache', 'clean', '--all'],

  install: ({ lockfile }) => ['install', lockfile === null ? '--no-immutable' : '--immutable'],
  script: (_project, name) => ['run', name],
  // `focus` is built in from yarn 4 on; before, it takes a plugin that the project may not have.
  prune: ({ version }) => (major(version) < 4 ? null : ['workspaces', 'focus', '--all', '--production']),
};

export const managers: Record<Manager, Commands> = {
  npm,
  pnpm,
  'yarn-classic': yarnClassic,
  'yarn-berry': yarnBerry,
};

import type { Lockfile } from './package-manager.ts';
import type { Manager } from './versions.ts';

/** Properties of an app that change the commands of its package manager. */
export interface Project {
  /** version of the package manager: exact, or a range */
  version: string;
  /** null if there is none: the install then chooses versions itself */
  lockfile: Lockfile | null;
  /** true if the app has a pnpm-workspace.yaml */
  pnpmWorkspace: boolean;
  /** true if the app includes its packages, in .yarn/cache */
  yarnCache: boolean;
}

/** Package manager of an app, as the arguments of its commands. */
export interface PackageManager {
  /** npm package of the package manager */
  package: string;
  program: string;
  env: Record<string, string>;
  /**
   * Name of the variable with the directory of the cache. Set if each app needs a cache of its own: because a killed install
   * breaks the cache, or because a fault of one app clears the cache. Null if all apps share a cache.
   */
  cacheVariable: string | null;
  /** clears the cache; null if the package manager has no such command */
  clearCache: string[] | null;
  /** installs exactly the versions in the lockfile, including dev dependencies, whatever NODE_ENV is */
  install: string[];
  /** runs a script of package.json, whose name follows */
  script: string[];
  /** removes dev dependencies without network access; null if the package manager cannot do that */
  prune: string[] | null;
}

/** Without this option, npm installs a workspace in a directory above that includes this directory. */
const npmHere = '--prefix=.';
const npmQuiet = ['--no-audit', '--no-fund', '--no-update-notifier'];
const yarnQuiet = ['--non-interactive', '--no-progress'];

export const managers: Record<Manager, (project: Project) => PackageManager> = {
  npm: ({ version, lockfile }) => ({
    package: 'npm',
    program: 'npm',
    env: {},
    cacheVariable: null,
    clearCache: ['cache', 'clean', '--force'],
    install: [
      lockfile === null ? 'install' : 'ci',
      npmHere,
      major(version) < 7 ? '--production=false' : '--include=dev',
      // npm 6 did not install peer dependencies, so its lockfiles may have conflicts.
      ...(/"lockfileVersion": 1,/.test(lockfile?.content ?? '') ? ['--legacy-peer-deps'] : []),
      ...npmQuiet,
    ],
    script: ['run', npmHere],
    prune: [
      'prune',
      npmHere,
      major(version) < 7 ? '--production' : '--omit=dev',
      '--ignore-scripts',
      // Otherwise npm writes the lockfile again, in its own format.
      '--no-save',
      ...npmQuiet,
    ],
  }),

  pnpm: ({ lockfile, pnpmWorkspace }) => {
    // pnpm looks for a pnpm-workspace.yaml in every directory above, and installs that workspace instead.
    const here = pnpmWorkspace ? [] : ['--ignore-workspace'];
    return {
      package: 'pnpm',
      program: 'pnpm',
      // Sluice has chosen the version in package.json: pnpm must neither check it nor fetch another.
      env: {
        npm_config_manage_package_manager_versions: 'false',
        npm_config_package_manager_strict: 'false',
        pnpm_config_pm_on_fail: 'ignore',
      },
      cacheVariable: null,
      clearCache: null,
      install: [
        ...here,
        'install',
        lockfile === null ? '--no-frozen-lockfile' : '--frozen-lockfile',
        '--prod=false',
      ],
      script: [...here, 'run'],
      // `pnpm prune` ignores the packages of a workspace and, before 8.15.6, runs their scripts.
      prune: [
        ...here,
        ...['install', '--prod', '--offline', '--frozen-lockfile', '--ignore-scripts'],
        // Otherwise pnpm removes packages only after a week.
        '--config.modules-cache-max-age=0',
      ],
    };
  },

  'yarn-classic': ({ lockfile }) => ({
    package: 'yarn',
    program: 'yarn',
    // Otherwise yarn refuses to run if package.json names another version or package manager.
    env: { SKIP_YARN_COREPACK_CHECK: '1' },
    // yarn 1 unpacks packages directly into the cache, so a killed install leaves half a package.
    cacheVariable: 'YARN_CACHE_FOLDER',
    clearCache: ['cache', 'clean'],
    install: [
      'install',
      ...(lockfile === null ? [] : ['--frozen-lockfile']),
      '--production=false',
      ...yarnQuiet,
    ],
    script: ['run'],
    // yarn 1 has no prune: an install without the dev dependencies removes them.
    prune: [
      ...['install', '--frozen-lockfile', '--production=true', '--ignore-scripts', '--prefer-offline'],
      ...yarnQuiet,
    ],
  }),

  'yarn-berry': ({ version, lockfile, yarnCache }) => ({
    package: '@yarnpkg/cli-dist',
    program: 'yarn',
    env: {
      // Plug'n'Play stores absolute paths of the directory and the cache, but a release moves. Every program supports
      // node_modules, and the lockfile is the same for both.
      YARN_NODE_LINKER: 'node-modules',
      // Before yarn 4 the cache is in the project, and would stay in the release.
      ...(yarnCache ? {} : { YARN_ENABLE_GLOBAL_CACHE: 'true' }),
      YARN_ENABLE_PROGRESS_BARS: 'false',
      YARN_ENABLE_TELEMETRY: 'false',
      YARN_ENABLE_COLORS: 'false',
    },
    // Sluice clears the cache if the checksum in one app's lockfile is wrong: see runInstall.
    cacheVariable: 'YARN_GLOBAL_FOLDER',
    clearCache: ['cache', 'clean', '--all'],
    install: ['install', lockfile === null ? '--no-immutable' : '--immutable'],
    script: ['run'],
    // yarn 4 has `focus` built in; earlier versions need a plugin that the project may not have.
    prune: major(version) < 4 ? null : ['workspaces', 'focus', '--all', '--production'],
  }),
};

/** Returns the first number of a version or a simple range. */
function major(version: string): number {
  return Number(/\d+/.exec(version)?.[0]);
}

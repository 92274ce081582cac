import type { Detected } from './package-manager.ts';
import type { Manager } from './versions.ts';

/** Properties of an app that change the commands of its package manager. */
export interface Project {
  /** version of the package manager: exact, or a range */
  version: string;
  /** null if there is none: the install then chooses versions itself */
  lockfile: Detected['lockfile'];
  /** true if the app has a pnpm-workspace.yaml */
  pnpmWorkspace: boolean;
  /** .npmrc of the app, if it names variables; absolute */
  npmrc: string | undefined;
  /** true if the app includes its packages, in .yarn/cache */
  yarnCache: boolean;
}

/** Package manager of an app, as the arguments of its commands. */
export interface PackageManager {
  /** npm package of the package manager */
  package: string;
  /** directory of its program in the installed tool; undefined for `node_modules/.bin` */
  bin?: string;
  program: string;
  /** variables that each of its commands needs, also in the finished release */
  env: Record<string, string>;
  /** further variables of installs, also of those that a build starts in another directory */
  installEnv: Record<string, string>;
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
    installEnv: {},
    cacheVariable: null,
    clearCache: ['cache', 'clean', '--force'],
    install: [
      lockfile === null ? 'install' : 'ci',
      npmHere,
      major(version) < 7 ? '--production=false' : '--include=dev',
      // npm 6 did not install peer dependencies, so its lockfiles may have conflicts.
      ...(lockfile?.isOfNpm6 ? ['--legacy-peer-deps'] : []),
      ...npmQuiet,
    ],
    script: ['run', npmHere],
  }),

  pnpm: ({ lockfile, pnpmWorkspace, npmrc }) => {
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
        // A pruned release has fewer packages than the lockfile: pnpm must not install them again to run a script.
        npm_config_verify_deps_before_run: 'false',
        pnpm_config_verify_deps_before_run: 'false',
      },
      // With a hard link, a build that changes a package would also change the package of the live release.
      installEnv: {
        npm_config_package_import_method: 'clone-or-copy',
        pnpm_config_package_import_method: 'clone-or-copy',
        // Nobody answers if pnpm asks before it replaces a node_modules that the app includes.
        npm_config_confirm_modules_purge: 'false',
        pnpm_config_confirm_modules_purge: 'false',
        // Before version 10, pnpm omits dev dependencies if NODE_ENV is `production`.
        NPM_CONFIG_PRODUCTION: 'false',
        // Since 10.34, pnpm does not replace `${NPM_TOKEN}` in the .npmrc of a project, only in that of the user: a project could
        // send a developer's token elsewhere. Here all variables are those of the app.
        ...(npmrc && {
          npm_config_userconfig: npmrc,
          pnpm_config_npmrc_auth_file: npmrc,
        }),
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
    };
  },

  'yarn-classic': ({ lockfile }) => ({
    package: 'yarn',
    program: 'yarn',
    // Otherwise yarn refuses to run if package.json names another version or package manager.
    env: { SKIP_YARN_COREPACK_CHECK: '1' },
    // Otherwise yarn omits dev dependencies if NODE_ENV is `production`. Later versions of yarn reject this variable.
    installEnv: { YARN_PRODUCTION: 'false' },
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
  }),

  'yarn-berry': ({ lockfile, yarnCache }) => ({
    package: '@yarnpkg/cli-dist',
    program: 'yarn',
    env: {
      // Plug'n'Play stores absolute paths of the directory and the cache, but a release moves. Every program supports
      // node_modules, and the lockfile is the same for both.
      YARN_NODE_LINKER: 'node-modules',
      // Before yarn 4 the cache is in the project, and would stay in the release.
      ...(yarnCache ? {} : { YARN_ENABLE_GLOBAL_CACHE: 'true' }),
    },
    installEnv: {
      YARN_ENABLE_PROGRESS_BARS: 'false',
      YARN_ENABLE_TELEMETRY: 'false',
      YARN_ENABLE_COLORS: 'false',
    },
    // Sluice clears the cache if the checksum in one app's lockfile is wrong: see runInstall.
    cacheVariable: 'YARN_GLOBAL_FOLDER',
    clearCache: ['cache', 'clean', '--all'],
    install: ['install', lockfile === null ? '--no-immutable' : '--immutable'],
    script: ['run'],
  }),

  // Installs and runs scripts; Node.js runs the app, and the scripts that name `node`.
  bun: ({ lockfile }) => {
    const name = `@oven/bun-${process.platform}-${process.arch === 'x64' ? 'x64-baseline' : 'aarch64'}`;
    return {
      // The package `bun` gets this one by an install script. "baseline" runs on every processor.
      package: name,
      bin: `node_modules/${name}/bin`,
      program: 'bun',
      env: {},
      installEnv: {},
      cacheVariable: null,
      clearCache: ['pm', 'cache', 'rm'],
      install: [
        'install',
        ...(lockfile === null ? [] : ['--frozen-lockfile']),
        // With a hard link, a build that changes a package would also change the package of the live release.
        '--backend=copyfile',
        '--no-progress',
      ],
      script: ['run'],
    };
  },
};

/** Returns the first number of a version or a simple range. */
function major(version: string): number {
  return Number(/\d+/.exec(version)?.[0]);
}

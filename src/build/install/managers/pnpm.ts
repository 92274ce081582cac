import type { Commands, Project } from './commands.ts';

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

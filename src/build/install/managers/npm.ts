import { type Commands, major, type Project } from './commands.ts';

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

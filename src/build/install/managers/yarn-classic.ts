import type { Commands } from './commands.ts';

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
    ...quiet,
  ],
  script: (_project, name) => ['run', name],
  // yarn 1 has no prune: an install without the dev dependencies removes them.
  prune: () => [
    'install',
    '--frozen-lockfile',
    '--production=true',
    '--ignore-scripts',
    '--prefer-offline',
    ...quiet,
  ],
};

const quiet = ['--non-interactive', '--no-progress'];

import { type Commands, major } from './commands.ts';

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

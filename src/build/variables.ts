import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { usualPath } from '../system/process/run.ts';
import { publicGitOverHttps } from './public-git.ts';
import { withoutRepositoryAbove } from './repository-above.ts';

/** Variables of the server that builds inherit. None holds a secret of Sluice. */
const inherited = new Set(
  `PATH HOME USER LOGNAME LANG LC_ALL TZ TMPDIR
   HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy
   NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR`.split(/\s+/),
);

/** Variables with which the machine's owner configures package managers: registries, caches, proxies. */
const configuration = /^(?:p?npm_config_|YARN_)/i;

/**
 * Variables that npm sets for the programs it starts. They describe the npm that started Sluice, and mislead another npm: after
 * `npm --silent start`, no install would report why it has failed.
 */
const ofThisRun =
  /^(?:npm_config_(?:(?:local_|global_)?prefix|node_gyp|npm_version|user_agent)|p?npm_config_loglevel)$/i;

/** Variables of the server's own user. The runner sets those of another user. */
const personal =
  /^(?:HOME|USER|LOGNAME|TMPDIR|p?npm_config_(?:cache|userconfig|tmp|store_dir|cache_dir|state_dir)|YARN_(?:CACHE|GLOBAL)_FOLDER)$/i;

/**
 * Returns the variables of the server that each command of a build gets.
 * @param isolated true if the command runs as another user than the server
 */
export function baseEnvironment(
  own: NodeJS.ProcessEnv = process.env,
  isolated = false,
): Record<string, string> {
  const env: Record<string, string> = {
    // A notice about a newer npm says nothing about the app. pnpm removes `npm_…` from the variables of scripts, but no capital letters.
    NPM_CONFIG_UPDATE_NOTIFIER: 'false',
    // npm would run compiled code from /tmp. An isolated app has its own TMPDIR.
    ...(isolated ? {} : { HOME: homedir(), NODE_DISABLE_COMPILE_CACHE: '1' }),
  };
  for (const [name, value] of Object.entries(own)) {
    const isInherited = inherited.has(name) || (configuration.test(name) && !ofThisRun.test(name));
    if (isInherited && value && !(isolated && personal.test(name))) env[name] = value;
  }
  if (env['PATH'] !== undefined) env['PATH'] = withoutPathOfNpm(env['PATH']);
  return env;
}

/**
 * Returns a PATH without the directories that npm adds for its scripts: the programs of the package and its parents, and a
 * directory with a `node-gyp` that, without the variables of that npm, compiles nothing and reports success.
 */
function withoutPathOfNpm(path: string): string {
  const entries = path.split(delimiter);
  const isNodeGyp = (entry: string) => /\/node-gyp-bin\/?$/.test(entry);
  const last = entries.findLastIndex(isNodeGyp);
  const isOfNpm = (entry: string, at: number) =>
    isNodeGyp(entry) || (at < last && entry.endsWith('/node_modules/.bin'));
  return entries.filter((entry, at) => !isOfNpm(entry, at)).join(delimiter);
}

/** Variables of each install and build. The app's own variables take precedence. */
const buildDefaults = {
  NODE_ENV: 'production',
  // A build may install in another directory, as in `cd client && npm install`. With NODE_ENV, npm would omit dev dependencies.
  // npm 7 to 12 read this variable; other package managers have theirs in managers.ts. pnpm removes `npm_…` from the variables of
  // scripts, but no capital letters.
  NPM_CONFIG_INCLUDE: 'dev',
  // A release is not a clone: these programs install git hooks, or fail without a repository.
  HUSKY: '0',
  LEFTHOOK: '0',
  SKIP_INSTALL_SIMPLE_GIT_HOOKS: '1',
  // The program of Cypress weighs several hundred megabytes, and only runs tests.
  CYPRESS_INSTALL_BINARY: '0',
};

/**
 * Returns the variables of an install and of scripts of an app. Variables of the app take precedence, except those that describe
 * the release and those that the package manager requires. PATH starts with the programs of the package manager and the Node.js of
 * the app.
 */
export function buildEnvironment(parts: {
  base: Record<string, string>;
  app: Record<string, string>;
  /** variables that describe the release, such as SLUICE_COMMIT */
  about: Record<string, string>;
  manager: Record<string, string>;
  /** directories of programs that come first in PATH */
  path: string[];
  node: string;
  /** directory of the release */
  directory: string;
  /** true to set CI */
  ci: boolean;
}): Record<string, string> {
  const { base, app, about, manager, path, node, directory, ci } = parts;
  return {
    ...base,
    ...headers(node),
    ...buildDefaults,
    ...(ci && { CI: '1' }),
    ...publicGitOverHttps(base['HOME'], app),
    ...app,
    ...about,
    ...manager,
    ...withoutRepositoryAbove(directory),
    PATH: [...path, dirname(node), app['PATH'] ?? base['PATH'] ?? usualPath].join(delimiter),
  };
}

/**
 * Returns the variables that name the headers of the app's Node.js to node-gyp, if the headers are installed. Versions of node-gyp
 * before 11.5 read only the second one. They prevent a download, and the headers of another version that an .npmrc of the machine
 * names.
 */
function headers(node: string): Record<string, string> {
  const root = dirname(dirname(node));
  const isInstalled = existsSync(join(root, 'include/node/node.h'));
  return isInstalled ? { npm_package_config_node_gyp_nodedir: root, npm_config_nodedir: root } : {};
}

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { usualPath } from '../system/process/run.ts';

/** Variables of our own that builds get: none that holds a secret of the appliance. */
const inherited = new Set(
  `PATH HOME USER LOGNAME LANG LC_ALL TZ TMPDIR
   HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy
   NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR`.split(/\s+/),
);

/** How the machine's owner configures package managers: registries, caches, proxies. */
const configuration = /^(?:p?npm_config_|YARN_)/i;

/** What npm sets for the programs it starts: it is about the npm that started us, if one did, and misleads another. */
const ofThisRun = /^npm_config_(?:(?:local_|global_)?prefix|node_gyp|npm_version|user_agent)$/i;

/** Ours alone: of no use to another user, who gets its own from the runner. */
const personal =
  /^(?:HOME|USER|LOGNAME|TMPDIR|p?npm_config_(?:cache|userconfig|tmp|store_dir|cache_dir|state_dir)|YARN_(?:CACHE|GLOBAL)_FOLDER)$/i;

/**
 * The variables that every external command of a build starts from.
 * @param isolated whether it runs as another user than we do
 */
export function baseEnvironment(
  own: NodeJS.ProcessEnv = process.env,
  isolated = false,
): Record<string, string> {
  // npm would run compiled code that it finds in /tmp. An app with its own user has its own TMPDIR.
  const env: Record<string, string> = isolated ? {} : { HOME: homedir(), NODE_DISABLE_COMPILE_CACHE: '1' };
  for (const [name, value] of Object.entries(own)) {
    const wanted = inherited.has(name) || (configuration.test(name) && !ofThisRun.test(name));
    if (!wanted || value === undefined || value === '' || (isolated && personal.test(name))) continue;
    env[name] = value;
  }
  return env;
}

/**
 * The variables that an install and the scripts of an app run with. The app's own win over ours, but for those that
 * make the package manager work, and PATH: the app's Node.js and the package manager itself come first in it.
 */
export function buildEnvironment(parts: {
  base: Record<string, string>;
  app: Record<string, string>;
  manager: Record<string, string>;
  /** directory of the package manager's programs */
  bin: string;
  node: string;
}): Record<string, string> {
  const { base, app, manager, bin, node } = parts;
  const path = [bin, dirname(node), app['PATH'] ?? base['PATH'] ?? usualPath];
  return {
    ...base,
    ...headers(node),
    NODE_ENV: 'production',
    CI: '1',
    ...app,
    ...manager,
    PATH: path.join(delimiter),
  };
}

/**
 * Where node-gyp finds the headers of the app's Node.js, where they lie beside it: without a download, and never
 * those of another version that an .npmrc of the machine points at.
 */
function headers(node: string): Record<string, string> {
  const root = dirname(dirname(node));
  const here = existsSync(join(root, 'include/node/node.h'));
  return here ? { npm_package_config_node_gyp_nodedir: root } : {};
}

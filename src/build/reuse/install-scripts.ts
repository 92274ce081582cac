import type { Manager } from '../install/versions.ts';

/**
 * Packages whose install scripts read nothing of the app but the listed paths. The outcome depends on the package, the variables, the
 * machine and these paths.
 */
const knownPackages: Record<string, string[]> = {
  ...Object.fromEntries(
    `argon2 bcrypt better-sqlite3 bufferutil canvas core-js core-js-bundle core-js-pure cpu-features es5-ext esbuild fsevents
     highlight.js iltorb isolated-vm keytar kerberos leveldown libpq libxmljs2 lmdb microtime mongodb-client-encryption msgpackr-extract
     node-expat node-pty node-rdkafka node-sass nodemon oracledb pg-native protobufjs re2 sharp snappy sodium-native spawn-sync
     sqlite3 ssh2 styled-components svelte-preprocess swagger-ui-dist tree-sitter unrs-resolver usb utf-8-validate uWebSockets.js vue-demi
     workerd zeromq zlib-sync @apollo/rover @bufbuild/buf @datadog/native-appsec @datadog/native-metrics @datadog/pprof @firebase/util
     @nestjs/core @newrelic/native-metrics @parcel/watcher @scarf/scarf @sentry/cli @sentry/profiling-node @serialport/bindings-cpp
     @swc/core @tailwindcss/oxide @tensorflow/tfjs-node`
      .split(/\s+/)
      .map((name) => [name, []]),
  ),
  '@prisma/client': ['prisma', 'schema.prisma'],
  '@prisma/engines': [],
  prisma: [],
};

/** One command of an install script that reads nothing of the app. */
const harmless =
  /^(?:node-gyp(?:-build(?:-optional-packages)?)?|prebuild-install|(?:@mapbox\/)?node-pre-gyp|cmake-js|opencollective(?:-postinstall)?|exit|true|echo)(?: [\w./=:@-]+)*$/;

/** Longest install script that is judged. */
const maxLength = 300;

/** Fields of the package.json of a dependency with install scripts. */
export interface Scripted {
  name: string;
  scripts: string[];
}

/**
 * Returns the paths of the app that the install script of a package reads, relative to the app; undefined if Sluice does not know
 * the script, which may read any file.
 */
export function pathsReadBy({ name, scripts }: Scripted): string[] | undefined {
  const known = Object.hasOwn(knownPackages, name) ? knownPackages[name] : undefined;
  if (known !== undefined) return known;
  const isHarmless = (script: string) =>
    script.length <= maxLength &&
    script.split(/\s*(?:\|\||&&)\s*/).every((part) => harmless.test(part.trim()));
  return scripts.every(isHarmless) ? [] : undefined;
}

/** Returns true for the package.json of an installed package; false for files inside of a package, such as those of its own tests. */
export function isInstalledManifest(path: string): boolean {
  const isOfPackage = /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@][^/]*\/package\.json$/.test(path);
  return isOfPackage && !/(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/@.][^/]*\/tests?\//.test(path);
}

/**
 * Returns the scripts that an install runs for the app itself when the packages are in their place, in order. Yarn 2 and later do not
 * run `prepare`.
 */
export function ownScripts(manager: Manager): string[] {
  return ['preinstall', 'postinstall', ...(manager === 'yarn-berry' ? [] : ['prepare'])];
}

/** Returns true if the package manager runs `preinstall` of the app before it reads its settings, which that script may write. */
export function runsPreinstallFirst(manager: Manager, version: string): boolean {
  return manager === 'yarn-classic' || (manager === 'npm' && Number.parseInt(version, 10) < 7);
}

/** Scripts of the app that an install runs among the work of the package manager, so that they cannot run alone. */
export const inseparable = [
  ...['install', 'prepublish', 'preprepare', 'postprepare', 'prepreinstall', 'postpreinstall'],
  ...['prepostinstall', 'postpostinstall', 'dependencies', 'predependencies', 'postdependencies'],
  'pnpm:devPreinstall',
];

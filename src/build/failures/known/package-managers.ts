import { readAppTextIfAny } from '../../../system/fs/read-file.ts';
import { damagedCache } from '../damaged-cache.ts';
import type { KnownFailure } from '../diagnose.ts';

const on = ['install'] as const;
/** Largest configuration file of a package manager that is read, in bytes. */
const maxConfiguration = 256 * 1024;
const anyCommand = ['install', 'build', 'hook'] as const;

const unsetVariable =
  'the configuration of the package manager names {variable}, and the variable is not set';
const setVariable = 'Set the token for builds: `sluice env set {app} --build {variable}=…`.';

/**
 * Failures of installs because of the app and its packages. Codes of npm match only as the reason of a failure
 * (`npm error code …`, before npm 10 `npm ERR! code …`), because npm also warns about them in installs that succeed.
 */
export const packageFailures: KnownFailure[] = [
  {
    on,
    pattern: damagedCache,
    reason: 'the cache of the package manager is damaged',
    hint: 'Clear the cache on the server as the user that builds: `npm cache clean --force`, `yarn cache clean`.',
  },
  {
    on,
    pattern:
      /ERR_PNPM_OUTDATED_LOCKFILE|ERR_PNPM_LOCKFILE_CONFIG_MISMATCH|npm (?:error|ERR!) `npm ci` can only install packages when|lockfile needs to be updated|lockfile would have been (?:modified|created)/,
    reason: 'the lockfile does not match package.json',
    hint: 'Run the install on your machine and commit the new lockfile.',
  },
  {
    on,
    pattern: /ERR_PNPM_LOCKFILE_BREAKING_CHANGE|ERR_PNPM_BROKEN_LOCKFILE|is not compatible with current pnpm/,
    reason: 'this version of pnpm cannot read the lockfile',
    hint: 'Name your version of pnpm in package.json and commit it: "packageManager": "pnpm@VERSION", with the output of `pnpm --version`.',
  },
  {
    on,
    pattern: /ERR_PNPM_IGNORED_BUILDS/,
    reason: 'dependencies have install scripts that are not allowed',
    hint: 'Run `pnpm approve-builds` on your machine and commit its changes.',
  },
  {
    on,
    pattern:
      /ERR_PNPM_(?:PATCH_NOT_APPLIED|UNUSED_PATCH|PATCH_FAILED)|Failed to apply patch for package|YN0066/,
    reason: 'a patch does not fit the installed version of its package',
    hint: 'Make the patch again for this version, or remove it: see `patches` in your repository.',
  },
  {
    on,
    pattern: /npm (?:error|ERR!) code ERESOLVE|ERR_PNPM_PEER_DEP_ISSUES/,
    reason: 'peer dependencies conflict',
    hint: 'Run the install on your machine, resolve the conflict, and commit the lockfile. To install as npm 6 did, commit an .npmrc with the line `legacy-peer-deps=true`.',
  },
  {
    on,
    pattern: /npm (?:error|ERR!) code EOVERRIDE/,
    reason: '"overrides" in package.json contradicts a direct dependency',
    hint: 'Give the package the same version in "overrides" and in "dependencies", and commit the lockfile.',
  },
  {
    on,
    pattern:
      /npm (?:error|ERR!) code (?:E401|E403|ENEEDAUTH)|ERR_PNPM_FETCH_40[13]|YN0041|Request failed \\?"40[13]|Response Code: 40[13]|error: GET \S{1,500} - 40[13]$/,
    check: async ({ directory }) => ({ variable: (await tokenOf(directory)) ?? 'NPM_TOKEN' }),
    reason: 'the registry refused access to a package',
    hint: 'Set the token that your .npmrc or .yarnrc.yml names, for builds: `sluice env set {app} --build {variable}=…`.',
  },
  {
    on,
    pattern:
      /^(?:error Error: Failed to replace env in config: \$\{|Usage Error: Environment variable not found \()(?<variable>\w{1,100})/,
    reason: unsetVariable,
    hint: setVariable,
  },
  {
    on,
    pattern: /WARN.{1,500}Failed to replace env in config: \$\{(?<variable>\w{1,100})/,
    // Without its .npmrc, pnpm asks the public registry.
    check: ({ output }) => (output.some((line) => line.includes('ERR_PNPM_FETCH_404')) ? {} : undefined),
    reason: unsetVariable,
    hint: setVariable,
  },
  {
    on: ['build', 'hook'],
    pattern: /Usage Error: Environment variable not found \((?<variable>\w{1,100})\)/,
    reason: '.yarnrc.yml names {variable}, and the variable is not set when yarn runs here',
    check: ({ groups: { variable = '' } }) => ({ optional: ['$', `{${variable}-}`].join('') }),
    hint: 'Write `{optional}` in .yarnrc.yml, so that yarn also runs without the variable, and commit the file.',
  },
  {
    on,
    pattern:
      /npm (?:error|ERR!) code (?:E404|ETARGET)|ERR_PNPM_FETCH_404|ERR_PNPM_NO_MATCHING_VERSION|YN0035|YN0082|Couldn't find (?:any versions|package)|error: GET \S{1,500} - 404$|Request failed \\?"404 Not Found|error: No version matching "/,
    reason: 'the registry does not have a package, or not this version',
    hint: 'Check the name and version in package.json. A private package needs an .npmrc that names its registry.',
  },
  {
    on,
    pattern: /npm (?:error|ERR!) code EINTEGRITY|ERR_PNPM_TARBALL_INTEGRITY|YN0018|Integrity check failed/,
    reason: 'a package does not match its checksum in the lockfile',
    hint: 'The package may have been published again. If you trust the package, write the lockfile again and commit it: `rm -rf node_modules package-lock.json && npm install`.',
  },
  {
    on,
    pattern:
      /The engine "node" is incompatible with this module\. Expected version "(?<range>[^"]{1,100})"|Wanted: \{"node":"(?<wanted>[^"]{1,100})"/,
    reason: 'a package requires another version of Node.js',
    check: ({ groups }) => ({ range: groups['range'] ?? groups['wanted'] ?? '' }),
    hint: 'Name the version in package.json: "engines": {"node": "{range}"}. Or update the package that the log names.',
  },
  {
    on,
    pattern:
      /npm (?:error|ERR!) code (?:EBADENGINE|EBADDEVENGINES)|ERR_PNPM_UNSUPPORTED_ENGINE|The engine "\w+" is incompatible/,
    reason: 'a package requires another version of Node.js or of the package manager',
    hint: 'Correct "engines" or "devEngines" in package.json if they ask for the version. Otherwise run `npm update PACKAGE` with the package that the log names, and commit the lockfile.',
  },
  {
    on,
    pattern: /Unsupported platform for (?<package>[^\s:]+):|npm (?:error|ERR!) code EBADPLATFORM/,
    reason: 'a dependency does not support this system',
    check: ({ groups, output }) => ({
      package: groups['package'] ?? packageForPlatform(output) ?? 'the package that the log names',
    }),
    hint: 'Move {package} from "dependencies" to "optionalDependencies" in package.json, and commit the lockfile.',
  },
  {
    on,
    pattern: /Unsupported URL Type "(?<protocol>workspace|catalog|portal|link):/,
    reason: 'npm does not support the protocol "{protocol}:" in package.json',
    hint: 'The app uses pnpm, yarn or bun: commit its lockfile, or name it in package.json as "packageManager".',
  },
  {
    on,
    pattern: /npm (?:error|ERR!) code (?:EINVALIDPACKAGENAME|EINVALIDTAGNAME)/,
    reason: 'package.json names a package, or a version, that cannot exist',
    hint: 'Correct the name or the version that the next lines quote, and commit package.json with the lockfile.',
  },
  {
    on,
    pattern: /npm (?:error|ERR!) (?:code EJSONPARSE|JSON\.parse )/,
    reason: 'package.json or the lockfile is not valid JSON',
    hint: 'Look for marks of a merge conflict (`<<<<<<<`) in package.json and the lockfile, and commit them without.',
  },
  {
    on,
    pattern: /Permission denied \(publickey|Host key verification failed|could not read Username for 'https/,
    reason: 'a dependency comes from a private git repository, and the server has no access',
    hint: 'Publish the package to a registry, or put a read token into its URL: `git+https://TOKEN@HOST/OWNER/NAME.git`.',
  },
  {
    on,
    pattern:
      /(?:ssh|fatal|fatal: unable to access \S{1,500}): Could not resolve host(?:name)?:? (?<host>[\w.-]{1,200})/,
    reason:
      'a dependency comes from a git repository on {host}, but the server cannot resolve this host name',
    hint: 'On the server, check that `getent hosts {host}` prints an address. If the server has no access to the internet, publish the package to your registry.',
  },
  {
    on: anyCommand,
    pattern: /syscall spawn git$|\bspawn git ENOENT/,
    reason: 'git is missing on the server',
    hint: 'Install git on the server (Debian: `apt-get install git`).',
  },
  {
    on: anyCommand,
    pattern:
      /^npm (?:error|ERR!) Missing script: "(?<script>[^"]+)"|ERR_PNPM_NO_SCRIPT.*Missing script: (?<script2>\S+)|^error Command "(?<script3>[^"]+)" not found|^Usage Error: Couldn't find a script named "(?<script4>[^"]+)"/,
    reason: 'package.json has no script "{script}"',
    check: ({ groups }) => ({
      script: groups['script'] ?? groups['script2'] ?? groups['script3'] ?? groups['script4'] ?? '',
    }),
    hint: 'Add the script "{script}" to package.json, or correct the script or hook that runs it.',
  },
  {
    on: anyCommand,
    pattern: /Could not resolve workspaces|Missing `packageManager` field in package\.json/,
    reason: 'turbo does not know the package manager',
    hint: 'Name it in package.json and commit: "packageManager": "npm@11.0.0", with your manager and its version.',
  },
];

/** Returns the package in the line of npm that follows the code EBADPLATFORM. */
function packageForPlatform(output: string[]): string | undefined {
  return output.flatMap((line) => /Unsupported platform for (\S+):/.exec(line)?.[1] ?? [])[0];
}

/** Programs that dependencies download while they are installed, with the variable that prevents the download. */
const downloads: [pattern: RegExp, what: string, variable: string][] = [
  [
    /Failed to set up (?:Chrome|chrome)|PUPPETEER_SKIP_(?:CHROMIUM_)?DOWNLOAD/,
    'the browser of Puppeteer',
    'PUPPETEER_SKIP_DOWNLOAD=1',
  ],
  [
    /Failed downloading the Cypress binary|The Cypress App could not be downloaded/,
    'the program of Cypress',
    'CYPRESS_INSTALL_BINARY=0',
  ],
  [/node_modules\/electron\/install\.js/, 'the program of Electron', 'ELECTRON_SKIP_BINARY_DOWNLOAD=1'],
  [
    /SENTRYCLI_SKIP_DOWNLOAD|Unable to download sentry-cli/,
    'the program of Sentry',
    'SENTRYCLI_SKIP_DOWNLOAD=1',
  ],
];

/** Failures of downloads in install scripts. The app may not need what they download. */
export const downloadFailures: KnownFailure[] = downloads.map(([pattern, what, variable]) => ({
  on,
  pattern,
  reason: `${what} could not be downloaded`,
  hint: `If the app runs without it, skip the download: sluice env set {app} ${variable}`,
}));

/** Returns the variable that the configuration of a package manager names as a token; undefined if there is none. */
async function tokenOf(directory: string): Promise<string | undefined> {
  for (const name of ['.npmrc', '.yarnrc.yml', 'bunfig.toml']) {
    const text = (await readAppTextIfAny(directory, name, maxConfiguration)) ?? '';
    const [, variable] = /(?:token|auth|password)[^\n]{0,200}?\$\{?(\w{1,100})/i.exec(text) ?? [];
    if (variable !== undefined) return variable;
  }
  return undefined;
}

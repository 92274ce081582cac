import type { Purpose } from './context.ts';

interface KnownFailure {
  /** matches one line of the output */
  pattern: RegExp;
  reason: string;
  hint: string;
}

/** Length of the searched part of a line. Untrusted programs may print very long lines. */
const maxSearchedLength = 1000;

/** Messages of package managers about a damaged cache. */
const damagedCache =
  /There should only be one folder in a package cache|Extracting tar content of .* failed, the file appears to be corrupt|ENOENT.*\.yarn-(?:metadata\.json|tarball\.tgz)|^npm (?:error|ERR!)(?=.*(?:ENOENT|ENOTDIR|EISDIR|EEXIST|EINTEGRITY)).*_cacache/;

/** Returns true if the message of a failed install reports a damaged cache. */
export function reportsDamagedCache(message: string): boolean {
  return message.split('\n').some((line) => matches(damagedCache, line) || matches(/YN0018/, line));
}

/** Searches the beginning of a line. */
export function matches(pattern: RegExp, line: string): boolean {
  return pattern.test(line.slice(0, maxSearchedLength));
}

/**
 * Failures of installs because of the app and its packages. Codes of npm match only as the reason of a failure
 * (`npm error code …`, before npm 10 `npm ERR! code …`), because npm also warns about them in installs that succeed.
 */
const packageFailures: KnownFailure[] = [
  {
    pattern: damagedCache,
    reason: 'the cache of the package manager is damaged',
    hint: 'Clear the cache on the server as the user that builds: `npm cache clean --force`, `yarn cache clean`.',
  },
  {
    pattern:
      /ERR_PNPM_OUTDATED_LOCKFILE|ERR_PNPM_LOCKFILE_CONFIG_MISMATCH|npm (?:error|ERR!) `npm ci` can only install packages when|lockfile needs to be updated|lockfile would have been (?:modified|created)/,
    reason: 'the lockfile does not match package.json',
    hint: 'Run the install on your machine and commit the new lockfile.',
  },
  {
    pattern: /ERR_PNPM_IGNORED_BUILDS/,
    reason: 'dependencies have install scripts that are not allowed',
    hint: 'Run `pnpm approve-builds` on your machine and commit its changes.',
  },
  {
    pattern: /npm (?:error|ERR!) code ERESOLVE|ERR_PNPM_PEER_DEP_ISSUES/,
    reason: 'peer dependencies conflict',
    hint: 'Run the install on your machine, resolve the conflict, and commit the lockfile.',
  },
  {
    pattern:
      /npm (?:error|ERR!) code (?:E401|E403|ENEEDAUTH)|ERR_PNPM_FETCH_40[13]|YN0041|Request failed \\?"40[13]|Response Code: 40[13]/,
    reason: 'the registry refused access to a package',
    hint: 'Set the token that your .npmrc or .yarnrc.yml refers to with `sluice env set`.',
  },
  {
    pattern:
      /npm (?:error|ERR!) code (?:E404|ETARGET)|ERR_PNPM_FETCH_404|ERR_PNPM_NO_MATCHING_VERSION|YN0035|YN0082|Couldn't find (?:any versions|package)/,
    reason: 'the registry does not have a package, or not this version',
    hint: 'Check the name and version in package.json. A private package needs an .npmrc that names its registry.',
  },
  {
    pattern: /npm (?:error|ERR!) code EINTEGRITY|ERR_PNPM_TARBALL_INTEGRITY|YN0018|Integrity check failed/,
    reason: 'a package does not match its checksum in the lockfile',
    hint: 'The package may have been published again, or the registry changes packages. If you trust the package, write the lockfile again.',
  },
  {
    pattern:
      /npm (?:error|ERR!) code (?:EBADENGINE|EBADDEVENGINES)|ERR_PNPM_UNSUPPORTED_ENGINE|The engine "\w+" is incompatible/,
    reason: 'a package requires another version of Node.js or of the package manager',
    hint: 'Check "engines" and "devEngines" in package.json and in the package that the log names.',
  },
];

/** Failures of any command because of the disk or the memory. */
const resourceFailures: KnownFailure[] = [
  {
    pattern: /\bENOSPC\b|no space left on device/i,
    reason: 'the disk is full',
    hint: 'Free disk space, or lower "keepReleases" of apps with many releases.',
  },
  {
    pattern: /\bEROFS\b|read-only file system/i,
    reason: 'a file system is read-only',
    hint: 'A build may write to its release, its cache and its TMPDIR. On the server, `findmnt -O ro` lists read-only file systems.',
  },
  {
    pattern: /JavaScript heap out of memory|\bENOMEM\b/,
    reason: 'memory ran out',
    hint: 'Give Node.js more with `sluice env set NODE_OPTIONS=--max-old-space-size=4096`, or build elsewhere and upload the result.',
  },
];

/** Failures of installs because of the server or its network. */
const serverFailures: KnownFailure[] = [
  {
    pattern: /gyp ERR!/,
    reason: 'a native addon could not be built',
    hint: 'Install a compiler, make and Python on the server (Debian: `build-essential python3`), or use a version of the package with a binary for this Node.js.',
  },
  {
    pattern: /\b(?:CERT_NOT_YET_VALID|CERT_HAS_EXPIRED)\b|certificate (?:is not yet valid|has expired)/,
    reason: "a registry's certificate is not valid at the time of this server's clock",
    hint: 'On the server, compare `date` with the actual time. If the clock is right, the registry must renew its certificate.',
  },
  {
    pattern:
      /\b(?:SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT\w*)\b|unable to (?:get local issuer|verify the first) certificate|self[- ]signed certificate/,
    reason: 'this server does not trust the certificate authority of a registry or a proxy',
    hint: 'Set NODE_EXTRA_CA_CERTS to the certificate file of that authority: in /var/lib/sluice/environment for all apps, or with `sluice env set` for one.',
  },
  {
    pattern: /\b(?:ENOTFOUND|EAI_AGAIN)\b/,
    reason: 'the name of a registry was not found',
    hint: 'On the server, check the DNS servers in /etc/resolv.conf. Also check the registry in .npmrc and the proxy (HTTPS_PROXY).',
  },
  {
    pattern: /\b(?:ENETUNREACH|EHOSTUNREACH)\b/,
    reason: 'this server has no route to a registry',
    hint: 'On the server, `ip route` shows its routes. Behind a proxy, set HTTPS_PROXY.',
  },
  {
    pattern:
      /\b(?:ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b|ERR_PNPM_META_FETCH_FAIL|network timeout/,
    reason: 'a registry does not answer, or closes the connection',
    hint: 'Try again. If that fails, check the proxy (HTTPS_PROXY) and the registry in .npmrc.',
  },
];

const programMissing: KnownFailure = {
  pattern: /^(?:sh|bash|\/bin\/sh): .*not found$|command not found/,
  reason: 'a program is missing',
  hint: 'Add the package of the program to dependencies or devDependencies, or install the program on the server.',
};

/** Failures of builds because of the app. */
const buildFailures: KnownFailure[] = [
  {
    pattern: /Cannot find (?:module|package) |ERR_MODULE_NOT_FOUND|Module not found: /,
    reason: 'a module is missing',
    hint: 'Add the module to dependencies or devDependencies, and check the capital letters of its path.',
  },
  {
    pattern: /error TS\d+:/,
    reason: 'TypeScript found errors',
    hint: 'The build log names the file and the line of each error.',
  },
];

/** Known failures of each kind of command, the more specific first. */
export const knownFailures: Record<Purpose, KnownFailure[]> = {
  install: [...packageFailures, ...resourceFailures, ...serverFailures, programMissing],
  build: [...resourceFailures, programMissing, ...buildFailures],
  hook: [...resourceFailures, programMissing],
};

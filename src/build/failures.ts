import type { Purpose } from './context.ts';

/** What is known of a failure from its output. */
interface Diagnosis {
  /** half a sentence: why */
  reason: string;
  /** what to do next */
  hint: string;
  /** the lines that say so, with a few around them */
  excerpt: string[];
}

interface KnownFailure {
  /** where it is looked for; everywhere without */
  during?: 'install' | 'build';
  /** what one line of the output has in it */
  pattern: RegExp;
  reason: string;
  hint: string;
}

/** Length of the searched part of a line: an untrusted program wrote the line. */
const longestSearched = 1000;

/** Complaints of package managers about their own cache. */
const damagedCache =
  /There should only be one folder in a package cache|Extracting tar content of .* failed, the file appears to be corrupt|ENOENT.*\.yarn-(?:metadata\.json|tarball\.tgz)|^npm (?:error|ERR!)(?=.*(?:ENOENT|ENOTDIR|EISDIR|EEXIST|EINTEGRITY)).*_cacache/;

/** Returns true if the message of a failed install reports a damaged cache. */
export function reportsDamagedCache(message: string): boolean {
  return message.split('\n').some((line) => matches(damagedCache, line) || matches(/YN0018/, line));
}

function matches(pattern: RegExp, line: string): boolean {
  return pattern.test(line.slice(0, longestSearched));
}

/**
 * In the order they are looked for: what is more particular comes first. npm's codes count only where npm gives them
 * as its reason (`npm error code …`, before npm 10 `npm ERR! code …`): it warns of the same things in installs that succeed.
 */
const knownFailures: KnownFailure[] = [
  {
    during: 'install',
    pattern: damagedCache,
    reason: 'the cache of the package manager is damaged',
    hint: 'Clear it on the server, as the user that builds: `npm cache clean --force`, `yarn cache clean`.',
  },
  {
    during: 'install',
    pattern:
      /ERR_PNPM_OUTDATED_LOCKFILE|ERR_PNPM_LOCKFILE_CONFIG_MISMATCH|npm (?:error|ERR!) `npm ci` can only install packages when|lockfile needs to be updated|lockfile would have been (?:modified|created)/,
    reason: 'the lockfile does not fit package.json',
    hint: 'Run the install on your machine and commit the lockfile it writes.',
  },
  {
    during: 'install',
    pattern: /ERR_PNPM_IGNORED_BUILDS/,
    reason: 'dependencies have install scripts that nobody has allowed',
    hint: 'Run `pnpm approve-builds` on your machine and commit what it changes.',
  },
  {
    during: 'install',
    pattern: /npm (?:error|ERR!) code ERESOLVE|ERR_PNPM_PEER_DEP_ISSUES/,
    reason: 'peer dependencies contradict each other',
    hint: 'Run the install on your machine, settle the conflict it names, and commit the lockfile.',
  },
  {
    during: 'install',
    pattern:
      /npm (?:error|ERR!) code (?:E401|E403|ENEEDAUTH)|ERR_PNPM_FETCH_40[13]|YN0041|Request failed \\?"40[13]|Response Code: 40[13]/,
    reason: 'the registry refused access to a package',
    hint: 'Set the token that your .npmrc or .yarnrc.yml refers to with `sluice env set`.',
  },
  {
    during: 'install',
    pattern:
      /npm (?:error|ERR!) code (?:E404|ETARGET)|ERR_PNPM_FETCH_404|ERR_PNPM_NO_MATCHING_VERSION|YN0035|YN0082|Couldn't find (?:any versions|package)/,
    reason: 'the registry does not have a package, or not in this version',
    hint: 'Check its name and version in package.json. A private package needs the .npmrc that tells its registry.',
  },
  {
    during: 'install',
    pattern: /npm (?:error|ERR!) code EINTEGRITY|ERR_PNPM_TARBALL_INTEGRITY|YN0018|Integrity check failed/,
    reason: 'a package is not the one that the lockfile was written with',
    hint: 'Has it been published again, or does the registry alter packages? Write the lockfile anew if you trust what is there now.',
  },
  {
    during: 'install',
    pattern:
      /npm (?:error|ERR!) code (?:EBADENGINE|EBADDEVENGINES)|ERR_PNPM_UNSUPPORTED_ENGINE|The engine "\w+" is incompatible/,
    reason: 'a package asks for another version of Node.js or of the package manager',
    hint: 'Look at "engines" and "devEngines" of package.json, and of the package that the log names.',
  },
  {
    pattern: /\bENOSPC\b|no space left on device/i,
    reason: 'the disk is full',
    hint: 'Free some space, or lower "keepReleases" of apps that keep many.',
  },
  {
    pattern: /\bEROFS\b|read-only file system/i,
    reason: 'a file system is read-only',
    hint: 'A build may write to its release, its cache and its TMPDIR. On the server, `findmnt -O ro` lists what is read-only.',
  },
  {
    pattern: /JavaScript heap out of memory|\bENOMEM\b/,
    reason: 'memory ran out',
    hint: 'Give Node.js more with `sluice env set NODE_OPTIONS=--max-old-space-size=4096`, or build elsewhere and upload what was built.',
  },
  {
    during: 'install',
    pattern: /gyp ERR!/,
    reason: 'a native addon could not be built',
    hint: 'Install a compiler, make and Python on the server (Debian: `build-essential python3`), or take a version of the package that brings a binary for this Node.js.',
  },
  {
    during: 'install',
    pattern: /\b(?:CERT_NOT_YET_VALID|CERT_HAS_EXPIRED)\b|certificate (?:is not yet valid|has expired)/,
    reason: "a registry's certificate is not valid at the time of this server's clock",
    hint: 'On the server, compare `date` with the actual time. If the clock is right, the registry must renew its certificate.',
  },
  {
    during: 'install',
    pattern:
      /\b(?:SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT\w*)\b|unable to (?:get local issuer|verify the first) certificate|self[- ]signed certificate/,
    reason:
      'the certificate of a registry or a proxy comes from an authority that this server does not trust',
    hint: 'Set NODE_EXTRA_CA_CERTS to the certificate file of that authority: in /var/lib/sluice/environment for all apps, or with `sluice env set` for one.',
  },
  {
    during: 'install',
    pattern: /\b(?:ENOTFOUND|EAI_AGAIN)\b/,
    reason: 'the name of a registry was not found',
    hint: 'On the server, check the DNS servers in /etc/resolv.conf. Also check the registry in .npmrc and the proxy (HTTPS_PROXY).',
  },
  {
    during: 'install',
    pattern: /\b(?:ENETUNREACH|EHOSTUNREACH)\b/,
    reason: 'this server has no route to a registry',
    hint: 'On the server, `ip route` shows its routes. Behind a proxy, set HTTPS_PROXY.',
  },
  {
    during: 'install',
    pattern:
      /\b(?:ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b|ERR_PNPM_META_FETCH_FAIL|network timeout/,
    reason: 'a registry does not answer, or breaks off',
    hint: 'Try again; if it stays so, look at the proxy (HTTPS_PROXY) and the registry in .npmrc.',
  },
  {
    pattern: /^(?:sh|bash|\/bin\/sh): .*not found$|command not found/,
    reason: 'a program is missing',
    hint: 'Add the package that brings it to dependencies or devDependencies, or install it on the server.',
  },
  {
    during: 'build',
    pattern: /Cannot find (?:module|package) |ERR_MODULE_NOT_FOUND|Module not found: /,
    reason: 'a module is missing',
    hint: 'Is it in dependencies or devDependencies? Are capital letters in its path as the file has them?',
  },
  {
    during: 'build',
    pattern: /error TS\d+:/,
    reason: 'TypeScript found errors',
    hint: 'The build log names file and line of each.',
  },
];

const linesBefore = 3;
const linesInAll = 12;

/** Why an install or a build failed, as far as its output tells; undefined where nothing known is in it. */
export function diagnose(purpose: Purpose, output: string[]): Diagnosis | undefined {
  for (const { during = purpose, pattern, reason, hint } of knownFailures) {
    if (during !== purpose) continue;
    const at = output.findIndex((line) => matches(pattern, line));
    if (at === -1) continue;
    const start = Math.max(0, at - linesBefore);
    return { reason, hint, excerpt: output.slice(start, start + linesInAll) };
  }
  return undefined;
}

/** What stands in for a diagnosis: the last lines. */
export function lastLines(output: string[]): string[] {
  return output.slice(-linesInAll);
}

import { totalmem } from 'node:os';
import type { KnownFailure } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';

const commands = ['install', 'build', 'hook'] as const;

/** Lines in which a package manager names an install script that has failed. */
const installScript =
  /^npm (?:error|ERR!) command sh -c |\bnode_modules\S*: Command failed\.$|\b(?:pre|post)?install: (?:Error|Failed)\b/;

/** Returns three quarters of the machine's memory, in MB. */
const mostMemory = () => ({ megabytes: String(Math.floor((totalmem() / 1024 ** 2) * 0.75)) });

/** Failures because of the disk or the memory. */
export const resourceFailures: KnownFailure[] = [
  {
    on: everywhere,
    pattern: /ENOSPC: System limit for number of file watchers reached/,
    reason: 'it watches more files than the system allows',
    hint: 'Run the production command, which watches no files. To allow more on the server: `sysctl fs.inotify.max_user_watches=524288`.',
  },
  {
    on: everywhere,
    pattern: /\bENOSPC\b|no space left on device/i,
    reason: 'the disk is full',
    hint: 'Free disk space on the server: `du -xm / | sort -n | tail` lists the largest directories.',
  },
  {
    on: commands,
    pattern: /\bEROFS\b|read-only file system/i,
    reason: 'a file system is read-only',
    hint: 'Let the command write to the release or to TMPDIR. On the server, `findmnt -O ro` lists the read-only file systems.',
  },
  {
    on: ['boot'],
    pattern: /\bEROFS\b(?:.*'(?<path>[^']+)')?/,
    reason: 'the app writes to a read-only file system',
    hint: 'Let the app write below its own directory, and add this path to "shared" in sluice.json if the data must survive a deploy.',
  },
  {
    on: commands,
    pattern: /JavaScript heap out of memory|\bENOMEM\b|ERR_WORKER_OUT_OF_MEMORY/,
    check: mostMemory,
    reason: 'memory ran out',
    hint: 'Give Node.js most of the memory: `sluice env set {app} NODE_OPTIONS=--max-old-space-size={megabytes}`. Or build elsewhere and upload the result.',
  },
  {
    on: ['boot'],
    pattern: /JavaScript heap out of memory|\bENOMEM\b|ERR_WORKER_OUT_OF_MEMORY/,
    check: mostMemory,
    reason: 'memory ran out',
    hint: 'Run one worker with most of the memory: set "workers" to 1 in sluice.json, and `sluice env set {app} NODE_OPTIONS=--max-old-space-size={megabytes}`.',
  },
  {
    on: commands,
    pattern: /^Killed$|exited with code: null and signal: SIGKILL/,
    reason: 'most likely memory ran out',
    hint: 'Check with `dmesg` on the server. Add swap space, or build elsewhere and upload the result.',
  },
];

/** Failures of installs because of the server or its network. */
export const networkFailures: KnownFailure[] = [
  {
    on: ['install'],
    pattern: /\b(?:CERT_NOT_YET_VALID|CERT_HAS_EXPIRED)\b|certificate (?:is not yet valid|has expired)/,
    reason: "a registry's certificate is not valid at the time of this server's clock",
    hint: 'On the server, compare `date` with the actual time. If the clock is right, the registry must renew its certificate.',
  },
  {
    on: ['install'],
    pattern:
      /\b(?:SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT\w*)\b|unable to (?:get local issuer|verify the first) certificate|self[- ]signed certificate/,
    reason: 'this server does not trust the certificate authority of a registry or a proxy',
    hint: 'Set NODE_EXTRA_CA_CERTS to the certificate file of that authority: in /var/lib/sluice/environment for all apps, or with `sluice env set` for one.',
  },
  {
    on: ['install'],
    pattern: /getaddrinfo (?:ENOTFOUND|EAI_AGAIN) (?<host>[\w.-]{1,200})/,
    check: ({ output }) => (output.some((line) => installScript.test(line)) ? {} : undefined),
    reason: 'the install script of a package cannot resolve the host name {host}',
    hint: 'Let this server reach {host}. Behind a proxy, set HTTPS_PROXY: sluice env set {app} HTTPS_PROXY=…',
  },
  {
    on: ['install'],
    pattern: /\b(?:ENOTFOUND|EAI_AGAIN)\b/,
    reason: 'the name of a registry was not found',
    hint: 'On the server, check the DNS servers in /etc/resolv.conf. Also check the registry in .npmrc and the proxy (HTTPS_PROXY).',
  },
  {
    on: ['install'],
    pattern: /\b(?:ENETUNREACH|EHOSTUNREACH)\b/,
    reason: 'this server has no route to a registry',
    hint: 'On the server, `ip route` shows its routes. Behind a proxy, set HTTPS_PROXY.',
  },
  {
    on: ['install'],
    pattern: /npm (?:error|ERR!) code E429|\b429 Too Many Requests/,
    reason: 'the rate limit of the registry is reached',
    hint: 'Deploy again in some minutes.',
  },
  {
    on: ['install'],
    pattern:
      /\b(?:ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b|ERR_PNPM_META_FETCH_FAIL|network timeout|npm (?:error|ERR!) code E50\d/,
    reason: 'a registry does not answer, or closes the connection',
    hint: 'Try again. If that fails, check the proxy (HTTPS_PROXY) and the registry in .npmrc.',
  },
  {
    on: ['build'],
    pattern:
      /\b(?:getaddrinfo (?:ENOTFOUND|EAI_AGAIN)|ENETUNREACH|Failed to fetch font|Failed to fetch `[^`]+` from Google Fonts)/,
    reason: 'the build needs a server that cannot be reached',
    hint: 'Check that the server reaches the address that the log names. Behind a proxy, set HTTPS_PROXY with `sluice env set`.',
  },
];

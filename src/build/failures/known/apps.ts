import type { KnownFailure, Match } from '../diagnose.ts';
import { everywhere } from '../occasions.ts';
import { pathInRelease } from '../release-files.ts';

/** Hint for a release that cannot run beside the old one. */
const endFirst =
  'Let Sluice stop the old release first: "overlap": false in sluice.json. Clients wait meanwhile.';
/** Lets a row apply only while workers of another release run: otherwise another program has the port or the lock. */
const besideLive = (match: Match) => (match.besideLive ? {} : undefined);

/** Failures of frameworks, build tools, and apps that listen and write files. */
export const appFailures: KnownFailure[] = [
  {
    on: everywhere,
    pattern: /Could not find a production build in the '(?<folder>[^']{1,100})' directory/,
    reason: 'Next.js finds no build in {folder}',
    hint: 'Add the script "build": "next build" to package.json. If a script of this name exists, let it end with `next build`.',
  },
  {
    on: ['build'],
    pattern: /Treating warnings as errors because process\.env\.CI = true/,
    reason: 'the build treats warnings as errors, because the variable CI is set',
    hint: 'Set CI to false: sluice env set {app} CI=false',
  },
  {
    on: everywhere,
    pattern: /It looks like you're trying to use TypeScript but do not have the required package/,
    reason: 'Next.js needs TypeScript to read its configuration',
    hint: 'Move typescript to "dependencies" in package.json, or keep dev dependencies with "build": {"prune": false} in sluice.json.',
  },
  {
    on: ['build'],
    pattern:
      /error TS2688: Cannot find type definition file for '(?<types>[\w@/-]{1,100})'|error TS7016: .*module '(?<module>[\w@/-]{1,100})'/,
    check: ({ groups }) => {
      const name = groups['types'] ?? groups['module'] ?? '';
      return { package: `@types/${name.replace(/^@([^/]+)\/(.+)/, '$1__$2')}` };
    },
    reason: 'the types {package} are missing',
    hint: 'Add them and commit the lockfile: `npm install --save-dev {package}`.',
  },
  {
    on: ['build'],
    pattern: /error TS18003: /,
    reason: 'TypeScript finds no source files',
    hint: 'Compare "include" and "files" of tsconfig.json with the files in the repository.',
  },
  {
    on: ['build'],
    pattern: /error TS\d+:|^Type error: /,
    reason: 'TypeScript found errors',
    hint: 'Run `npm run build` on your machine, and fix the errors it lists.',
  },
  {
    on: ['build'],
    pattern: /^✖ \d+ problems? \([1-9]\d* errors?/,
    reason: 'ESLint found errors',
    hint: 'Run `npm run build` on your machine, and fix the errors it lists.',
  },
  {
    on: ['boot'],
    pattern: /EADDRNOTAVAIL(?:: address not available)?(?: (?<address>\S+))?/,
    check: ({ groups }) => ({ address: groups['address'] ?? 'an address' }),
    reason: 'the app listens on {address}, which this server does not have',
    hint: 'Let the app listen on process.env.PORT without a host: check the variable HOST with `sluice env list {app}`.',
  },
  {
    on: ['boot'],
    pattern: /ERR_SOCKET_BAD_PORT|options\.port should be >= 0 and < 65536/,
    reason: 'the app listens on a port that is not a number',
    hint: 'Let the app listen on process.env.PORT. It may read another variable, which is not set.',
  },
  {
    on: ['boot'],
    pattern: /bind EADDRINUSE/,
    check: besideLive,
    reason: 'the old release still has a UDP port',
    hint: endFirst,
  },
  {
    on: ['boot'],
    pattern:
      /LOCK: (?:already held by process|Resource temporarily unavailable)|LEVEL_LOCKED|Database is already open/,
    check: besideLive,
    reason: 'the old release has locked the files of the database',
    hint: endFirst,
  },
  {
    on: ['boot'],
    // SQLite, DuckDB, and packages that lock a file.
    pattern:
      /SQLITE_BUSY|database is locked|Conflicting lock is held|Could not set lock|\bELOCKED\b|Lock file is already being held|another instance|already running/i,
    check: besideLive,
    reason: 'the old release seems to have a lock',
    hint: endFirst,
  },
  {
    on: ['boot'],
    pattern: /EADDRINUSE(?:: address already in use)?(?: \S*?:?(?<port>\d+)$)?/,
    check: ({ groups }) => ({ which: groups['port'] === undefined ? 'a port' : `port ${groups['port']}` }),
    reason: 'the app opens {which}, which is in use',
    hint: 'Let the app listen on process.env.PORT only. If it opens a second port, give it a free one.',
  },
  {
    on: ['boot'],
    pattern: /listen EACCES: permission denied \S*?:?(?<port>\d+)$/,
    reason: 'the app is not allowed to open port {port}',
    hint: 'Let the app listen on process.env.PORT. `sluice domains add` serves it on ports 80 and 443.',
  },
  {
    on: ['boot'],
    pattern:
      /(?:EACCES: permission denied|EPERM: operation not permitted), (?<call>mkdir|open|copyfile|rename|unlink|rmdir|symlink|chmod|utime|access|write|scandir) '(?<path>[^']+)'/,
    check: (match) => {
      const file = pathInRelease(match, match.groups['path']);
      return file === undefined ? undefined : { file };
    },
    reason: 'the app is not allowed to write {file}',
    hint: 'Add the file or its directory to "shared" in sluice.json: the app may write there, and the data survives a deploy.',
  },
  {
    on: ['boot'],
    pattern:
      /(?:EACCES: permission denied|EPERM: operation not permitted|ENOENT: no such file or directory), (?:mkdir|open|copyfile|rename|unlink|rmdir|symlink|chmod|utime|access|write|scandir) '(?<path>\/[^']+)'/,
    reason: 'the app is not allowed to write {path}, or {path} does not exist',
    hint: 'Point the app at a directory in its release, such as ./data, with its variable or its settings, and add "data" to "shared" in sluice.json.',
  },
];

/** Rows that match many outputs: they apply if no other row does. */
export const lastResorts: KnownFailure[] = [
  {
    on: ['build', 'hook'],
    pattern: /\bECONNREFUSED\b/,
    reason: 'a service that the command needs does not answer',
    hint: 'The lines above name the service. Start it, or set its address with `sluice env set {app}`.',
  },
];

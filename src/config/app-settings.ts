import { posix } from 'node:path';
import * as v from 'valibot';
import { isName } from './paths.ts';
import { count, duration } from './units.ts';

/** Below the root of the release and neither the root itself nor our records in it, however it is written. */
const relativePath = v.pipe(
  v.string(),
  v.check((path) => {
    const [first] = posix.normalize(path).split('/');
    return (
      !['', '.', '..', '.sluice'].includes(first ?? '') &&
      !path.split('/').includes('..') &&
      !path.includes('\0')
    );
  }, 'a path inside the release, such as "uploads" or "data/shop.db"'),
  v.transform((path) => posix.normalize(path).replace(/\/$/, '')),
);

/** Of two paths one of which lies in the other, linking the second would go through the link of the first. */
function areApart(paths: string[]): boolean {
  return paths.every((path, index) =>
    paths.every((other, at) => at === index || !`${other}/`.startsWith(`${path}/`)),
  );
}

/** A directory of what is sent; with the name of an app before it where several apps share a repository. */
const root = v.pipe(
  v.union(
    [relativePath, v.record(v.string(), relativePath)],
    'a directory such as "server", or one for each app: {"shop": "apps/shop"}',
  ),
  v.description(
    'Where the app lies in what is pushed or uploaded: a directory such as `server`, or, where a repository holds several apps, one for each: `{"shop": "apps/shop"}`. That directory is the release; the other settings stand in a sluice.json of its own.',
  ),
);

const branchName = v.pipe(
  v.string(),
  // As git-check-ref-format(1) has it.
  v.regex(
    /^(?!refs\/|[-./]|.*(?:\.\.|\/\/|\/\.|@\{|\.lock(?:\/|$)|[./]$))[^\s\p{Cc}~^:?*[\\]+$/u,
    'a branch such as "main" or "release/next"',
  ),
);

function eachOnce(branches: Record<string, string[]>): boolean {
  const all = Object.values(branches).flat();
  return new Set(all).size === all.length;
}

const branches = v.pipe(
  v.record(
    v.pipe(v.string(), v.check(isName, 'the name of an environment, such as "staging"')),
    v.pipe(
      v.union([branchName, v.array(branchName)], 'a branch such as "develop", or a list of them'),
      v.transform((names) => (Array.isArray(names) ? names : [names])),
    ),
  ),
  v.check(eachOnce, 'branches each of which belongs to one environment'),
  v.description(
    'Which branches deploy into which environment when they are pushed: `{"staging": "develop"}`. Production takes `main` and `master` unless it is named.',
  ),
);

const hookCommand = (when: string) =>
  v.optional(v.pipe(v.string(), v.nonEmpty('a shell command'), v.description(when)));

const hooks = v.strictObject({
  preBuild: hookCommand('Shell command to run in the new release before its install.'),
  postBuild: hookCommand('Shell command to run after the build, while dev dependencies are still there.'),
  preSwitch: hookCommand(
    "Shell command to run once, in the new release with the app's variables, before its workers start: migrations. If it fails, so does the deploy.",
  ),
  postSwitch: hookCommand(
    'Shell command to run when the new release has the traffic. If it fails, a notice says so.',
  ),
  timeout: v.optional(duration('How long each of them may take.'), '15m'),
});

const statusRange = v.pipe(
  v.string(),
  v.regex(/^[1-5]\d\d(?:-[1-5]\d\d)?$/, 'a status or a range of them, such as "200" or "200-399"'),
);

const health = v.strictObject({
  path: v.optional(
    v.pipe(
      v.string(),
      v.startsWith('/', 'a path that starts with "/"'),
      v.description('What is asked for, on the private port of every new worker, before it gets traffic.'),
    ),
    '/',
  ),
  headers: v.optional(
    v.pipe(v.record(v.string(), v.string()), v.description('Headers to send, such as a `host`.')),
    {},
  ),
  status: v.optional(
    v.pipe(
      v.union([
        v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(599)),
        statusRange,
        v.array(statusRange),
      ]),
      v.description('Statuses that count as healthy: one, a range such as `200-399`, or a list of these.'),
      v.transform((value) => (Array.isArray(value) ? value : [String(value)])),
    ),
    '100-499',
  ),
  body: v.optional(v.pipe(v.string(), v.description('Text that the answer must contain.'))),
  interval: v.optional(duration('Pause between two attempts.'), 250),
  timeout: v.optional(duration('How long one attempt may take.'), '5s'),
});

const build = v.strictObject({
  command: v.optional(
    v.pipe(
      v.union([v.string(), v.literal(false)]),
      v.description(
        'The script of package.json that builds; `false` for none. Without it: `build`, if there is one.',
      ),
    ),
  ),
  timeout: v.optional(duration('How long install, build and prune may take together.'), '15m'),
});

/**
 * What an app may say about itself, in `sluice.json` or under `"sluice"` in package.json. Defaults, checks, the
 * published JSON schema (config/app.schema.json) and docs/settings.md all come from here.
 */
export const appSettingsSchema = v.strictObject({
  $schema: v.optional(v.pipe(v.string(), v.description('For editors; ignored.'))),
  start: v.optional(
    v.pipe(
      v.string(),
      v.description(
        'The command that starts the app, such as `node dist/server.js`. Without it: see docs/start.md.',
      ),
    ),
  ),
  port: v.optional(
    count(
      'The port that the code listens on where it does not look at PORT. Tells which of several listens is the app.',
      1,
      65535,
    ),
  ),
  workers: v.optional(
    v.pipe(
      v.union(
        [v.pipe(v.number(), v.integer(), v.minValue(-64), v.maxValue(64)), v.picklist(['auto', 'max'])],
        'a whole number, "auto" or "max"',
      ),
      v.description(
        'Worker processes: a number, `max` (one a core), a negative number (that many fewer than cores), or `auto`: one a core, but 1 where the dependencies keep state inside the process.',
      ),
    ),
    'auto',
  ),
  build: v.optional(build, {}),
  hooks: v.optional(hooks, {}),
  root: v.optional(root),
  branches: v.optional(branches),
  health: v.optional(health, {}),
  bootTimeout: v.optional(duration('How long a worker may take until it listens and is healthy.'), '30s'),
  settleTime: v.optional(
    duration('How long a healthy worker must go on living before it gets traffic.'),
    '1s',
  ),
  drainTimeout: v.optional(
    duration('How long a retired worker may go on with what it has in flight.'),
    '30s',
  ),
  killTimeout: v.optional(duration('Time between the stop signal and SIGKILL.'), '5s'),
  waitReady: v.optional(
    v.pipe(
      v.boolean(),
      v.description("The app says `process.send('ready')` when it is; listening alone is not enough."),
    ),
    false,
  ),
  keepReleases: v.optional(count('How many releases that were live are kept for rollback.', 2, 1000), 5),
  shared: v.optional(
    v.pipe(
      v.array(relativePath),
      v.check(areApart, 'paths none of which is, or lies in, another one'),
      v.description(
        'Paths that outlive releases (uploads, a SQLite file): links into the shared directory, `apps/APP/ENVIRONMENT/shared` of the home. What the live release has there is taken over.',
      ),
    ),
    [],
  ),
});

export type AppSettings = v.InferOutput<typeof appSettingsSchema>;
export type HealthSettings = AppSettings['health'];

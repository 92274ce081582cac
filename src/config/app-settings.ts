import { posix } from 'node:path';
import * as v from 'valibot';
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

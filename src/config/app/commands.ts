import * as v from 'valibot';
import {
  count,
  duration,
  group,
  optionalGroup,
  record,
  schedule,
  setting,
  shellCommand,
  text,
  timezone,
} from '../field-types.ts';
import { isName } from '../paths.ts';
import { ofBackgroundProcess } from './supervision.ts';
import { ofProcess } from './variables.ts';

/** Command of one line that Sluice runs without a shell. */
export function command(example: string) {
  return text(/^(?=\s*\S)[^\p{Cc}]+$/u, `a command in one line, such as "${example}"`);
}

export const hooks = optionalGroup({
  preBuild: setting('Shell command to run in the new release before its install.', shellCommand),
  postBuild: setting(
    'Shell command to run after the build and before dev dependencies are removed.',
    shellCommand,
  ),
  preSwitch: setting(
    "Shell command, such as a migration, to run once in the new release, with the app's variables, before the workers start. If the command fails, the deploy fails.",
    shellCommand,
  ),
  postSwitch: setting(
    'Shell command to run when the new release is live. If the command fails, the deploy prints a note.',
    shellCommand,
  ),
  timeout: setting('Time limit of each hook.', duration, '15m'),
});

/** Prefixes of instance numbers in the log that have another meaning. */
const reservedNames = ['web', 'cron'];

/** Name of a background process or of a scheduled job, in the log and in status. */
const processName = v.pipe(
  v.string(),
  v.check(
    (name) => isName(name) && !reservedNames.includes(name),
    'a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron"',
  ),
);

/** Limit of background processes. Each takes three descriptors of the runner, which all apps share. */
const maxProcesses = 128;

const processCommand = v.pipe(
  command('node worker.js'),
  v.description(
    'Command to run, with the rules of `start`: `node worker.js`, `npm run worker`, or a program of a package in dependencies.',
  ),
);

const background = group({
  command: setting(
    'Command to run, with the rules of `start`: `node worker.js`, `npm run worker`, or a program of a package in dependencies. Optional if another source of settings has the command.',
    command('node worker.js'),
  ),
  count: setting('Number of processes; 0 for none.', count(0, 64), 1),
  overlap: setting('Start new processes at a switch before the old ones have ended.', v.boolean(), false),
  env: setting(
    'Variables of the process; `null` for a variable of `env` that the process does not get. Variables of `sluice env set` take precedence over them.',
    ofProcess,
    {},
  ),
  ...ofBackgroundProcess,
});

/** A background process with the command as its only setting. */
const plain = { count: 1, overlap: false, env: {} };

type Background = v.InferOutput<typeof background>;

export const processes = setting(
  'Background processes, by name: a command, or an object. At most 128 in total. See docs/processes.md.',
  v.pipe(
    record(
      processName,
      v.pipe(
        v.union(
          [processCommand, background],
          'a command such as "node worker.js", or {"command": …, "count": …}',
        ),
        v.transform(
          (value): Background => (typeof value === 'string' ? { command: value, ...plain } : value),
        ),
      ),
    ),
    v.check(
      (processes) => Object.values(processes).reduce((sum, { count }) => sum + count, 0) <= maxProcesses,
      `at most ${maxProcesses} processes in total`,
    ),
  ),
  {},
);

/** Limit of jobs. Each may run every second in the runner, which all apps share. */
const maxJobs = 100;

const job = v.pipe(
  group({
    name: setting('Name in the log and in status. Default: `cron-1`, `cron-2` … by position.', processName),
    schedule: schedule('Times of the job.'),
    command: setting("Shell command to run in the live release with the app's variables.", shellCommand),
    request: setting(
      'Request to send to the app instead: `/path` for a GET, or a method and a path, as in `POST /path`.',
      text(
        /^(?:(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) )?\/[!-~]*$/,
        'a path such as "/tasks/mail", or a method and a path: "POST /tasks/mail"',
      ),
    ),
    timezone,
    overlap: setting('Allow overlapping runs.', v.boolean(), false),
    timeout: setting('Time limit of a run.', duration, '1h'),
  }),
  v.check(
    ({ command, request }) => (command === undefined) !== (request === undefined),
    'either "command" or "request"',
  ),
);

type Job = v.InferOutput<typeof job>;

/** Scheduled jobs. Parsed to the parameters of the runner; each has a name. */
export const cron = setting(
  'Scheduled commands and requests, at most 100. See docs/schedules.md.',
  v.pipe(
    v.array(job),
    v.maxLength(maxJobs, `at most ${maxJobs} jobs`),
    v.checkItems(
      // Jobs above the limit are not compared: a file may have very many.
      (job, index, jobs) =>
        index >= maxJobs ||
        jobs.slice(0, index).every((other, at) => nameOf(other, at) !== nameOf(job, index)),
      'a unique name; without "name", it is "cron-1", "cron-2" … by position',
    ),
    v.transform((jobs) =>
      jobs.map((job, index) => {
        const { schedule, timezone = null, overlap, timeout } = job;
        return { name: nameOf(job, index), schedule, timezone, overlap, timeout, action: actionOf(job) };
      }),
    ),
  ),
  [],
);

function nameOf({ name }: Job, index: number): string {
  return name ?? `cron-${index + 1}`;
}

function actionOf({ command, request }: Job) {
  if (command !== undefined) return { kind: 'command' as const, command };
  const [path = '', method = 'GET'] = request?.split(' ').reverse() ?? [];
  return { kind: 'request' as const, method, path };
}

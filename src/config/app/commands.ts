import * as v from 'valibot';
import { count, duration, schedule, timezone } from '../field-types.ts';
import { isName } from '../paths.ts';

/** Command for a shell, of one or more lines. A NUL is refused: no argument of a program can have one. */
export const shellCommand = v.pipe(
  v.string(),
  v.regex(/^(?=\s*\S)[^\0]+$/, 'a shell command, without NUL characters'),
);

/** What stands before an instance's number in the log is one of these already. */
const taken = ['web', 'cron'];

/** Names a background process or a job, in the log and in status. */
export const processName = v.pipe(
  v.string(),
  v.check(
    (name) => isName(name) && !taken.includes(name),
    'a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron"',
  ),
);

const hookCommand = (when: string) => v.optional(v.pipe(shellCommand, v.description(when)));

export const hooks = v.strictObject({
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

/** Each process takes two descriptors of the runner, which all apps share. */
const mostProcesses = 128;

const command = v.pipe(
  v.string(),
  v.regex(/^(?=\s*\S)[^\p{Cc}]+$/u, 'a command such as "node worker.js"'),
  v.description(
    'What is run, understood as `start` is: `node worker.js`, `npm run worker`, a program of a package in dependencies.',
  ),
);

const background = v.strictObject({
  command,
  count: v.optional(count('How many of them; 0 for none.', 0, 64), 1),
  overlap: v.optional(
    v.pipe(
      v.boolean(),
      v.description('Whether new ones may start, at a switch, while old ones have not ended yet.'),
    ),
    false,
  ),
});

/** Written as a command alone, everything else is as it is by default. */
export const processes = v.optional(
  v.pipe(
    v.record(
      processName,
      v.pipe(
        v.union([command, background], 'a command such as "node worker.js", or {"command": …, "count": …}'),
        v.transform((value) =>
          typeof value === 'string' ? { command: value, count: 1, overlap: false } : value,
        ),
      ),
    ),
    v.check(
      (processes) => Object.values(processes).reduce((sum, { count }) => sum + count, 0) <= mostProcesses,
      `at most ${mostProcesses} processes, all counts together`,
    ),
    v.description(
      'Background processes beside the workers, by name: a command, or an object. At most 128 in all. See docs/processes.md.',
    ),
  ),
  {},
);

/** Each entry may be due each second, in the runner, which all apps share. */
const mostJobs = 100;

const job = v.pipe(
  v.strictObject({
    name: v.optional(
      v.pipe(
        processName,
        v.description('Its name in the log and in status; without it `cron-1`, `cron-2` … by its place.'),
      ),
    ),
    schedule: schedule('When it is done.'),
    command: v.optional(
      v.pipe(
        shellCommand,
        v.description("Shell command to run in the live release, with the app's variables."),
      ),
    ),
    request: v.optional(
      v.pipe(
        v.string(),
        v.regex(
          /^(?:(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) )?\/[!-~]*$/,
          'a path such as "/tasks/mail", or a method and a path: "POST /tasks/mail"',
        ),
        v.description(
          'Request to send to the app instead: `/path` for a GET, or a method and a path, as in `POST /path`.',
        ),
      ),
    ),
    timezone,
    overlap: v.optional(
      v.pipe(v.boolean(), v.description('Whether it is done although the last time it was goes on.')),
      false,
    ),
    timeout: v.optional(duration('How long it may take before it is ended.'), '1h'),
  }),
  v.check(
    ({ command, request }) => (command === undefined) !== (request === undefined),
    'either "command" or "request"',
  ),
);

type Job = v.InferOutput<typeof job>;

/** Parsed to what the runner is told, each with a name. */
export const cron = v.optional(
  v.pipe(
    v.array(job),
    v.maxLength(mostJobs, `at most ${mostJobs}`),
    v.description('Commands and requests at set times, at most 100. See docs/processes.md.'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const names = dataset.value.map(nameOf);
      for (const [key, name] of names.entries()) {
        if (names.indexOf(name) === key) continue;
        const item = { type: 'array', origin: 'value', input: dataset.value, key } as const;
        addIssue({
          message: 'a name that no other one has',
          received: JSON.stringify(name),
          path: [{ ...item, value: dataset.value[key] }],
        });
      }
    }),
    v.transform((jobs) => jobs.map(asTold)),
  ),
  [],
);

function asTold(job: Job, index: number) {
  const { schedule, timezone = null, overlap, timeout } = job;
  return { name: nameOf(job, index), schedule, timezone, overlap, timeout, action: actionOf(job) };
}

function nameOf({ name }: Job, index: number): string {
  return name ?? `cron-${index + 1}`;
}

function actionOf({ command, request }: Job) {
  if (command !== undefined) return { kind: 'command' as const, command };
  const [path = '', method = 'GET'] = request?.split(' ').reverse() ?? [];
  return { kind: 'request' as const, method, path };
}

import * as v from 'valibot';
import { schedule, timezone } from '../schedule.ts';
import { duration } from '../units.ts';
import { processName } from './process-name.ts';
import { shellCommand } from './shell-command.ts';

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

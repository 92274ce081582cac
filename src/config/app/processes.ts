import * as v from 'valibot';
import { count } from '../units.ts';
import { processName } from './process-name.ts';

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

import * as v from 'valibot';
import { count, size } from '../units.ts';

/** Less than this, and nothing of Node.js would come up. Mostly a unit was forgotten. */
const leastMemory = 64 * 1024 ** 2;

/** What the kernel holds a release to. See docs/processes.md for what they come to where they are not set. */
export const limits = {
  memoryLimit: v.optional(
    v.pipe(
      size(
        'Memory of all processes of a release together, above which the kernel kills one; as much swap space may be taken besides. Without it: by `maxMemory` and the number of processes, where that is set.',
      ),
      v.minValue(leastMemory, 'at least "64M"'),
    ),
  ),
  maxProcesses: v.optional(
    count(
      'How many processes and threads a release may have, all together. Without it: 512, and 64 for each worker and background process.',
      32,
      1_000_000,
    ),
  ),
  cpuWeight: v.optional(
    count('Share of the processor next to other apps, where there is not enough for all.', 1, 10_000),
    100,
  ),
};

import * as v from 'valibot';
import { duration } from '../units.ts';

export const build = v.strictObject({
  command: v.optional(
    v.pipe(
      v.union(
        [v.pipe(v.string(), v.regex(/^[^\p{Cc}]+$/u)), v.literal(false)],
        'the name of a script, or false',
      ),
      v.description(
        'The script of package.json that builds; `false` for none. Without it: `build`, if there is one.',
      ),
    ),
  ),
  timeout: v.optional(duration('How long install, build and prune may take together.'), '15m'),
});

import * as v from 'valibot';

/** Command for a shell, of one or more lines. A NUL is refused: no argument of a program can have one. */
export const shellCommand = v.pipe(
  v.string(),
  v.regex(/^(?=\s*\S)[^\0]+$/, 'a shell command, without NUL characters'),
);

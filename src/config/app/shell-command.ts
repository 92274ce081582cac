import * as v from 'valibot';

/** A command for a shell. It may have several lines; no program can be started with a NUL in an argument. */
export const shellCommand = v.pipe(
  v.string(),
  v.regex(/^(?=\s*\S)[^\0]+$/, 'a shell command, without NUL characters'),
);

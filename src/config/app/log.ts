import * as v from 'valibot';

export const logOverflow = v.optional(
  v.pipe(
    v.picklist(['wait', 'drop'], '"wait" or "drop"'),
    v.description(
      'What becomes of a process that prints faster than its log can be written: it waits, or what it prints is dropped, and how many times is in the log.',
    ),
  ),
  'wait',
);

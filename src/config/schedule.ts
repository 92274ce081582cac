import * as v from 'valibot';
import { nodeCron } from '../system/node-cron.ts';

/** When something is done: a cron expression, as node-cron understands it. */
export function schedule(description: string) {
  return v.pipe(
    v.string(expression),
    v.check(isSchedule, expression),
    v.description(
      `${description} Minute, hour, day, month and day of the week; seconds may stand before them.`,
    ),
  );
}

const expression = 'a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri"';

/** The zone that a schedule is meant in. */
export const timezone = v.optional(
  v.pipe(
    v.string(),
    v.check(isTimezone, 'the name of a time zone, such as "Europe/Berlin" or "UTC"'),
    v.description("Time zone of the schedule, such as `Europe/Berlin`; the machine's without it."),
  ),
);

/** Every day or every hour, the commonest schedules: known to be right without asking. */
const common = /^(?:\*|[1-5]?\d) (?:\*|1?\d|2[0-3]) \* \* \*$/;

function isSchedule(text: string): boolean {
  return common.test(text) || nodeCron().validate(text);
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

import * as v from 'valibot';
import { nodeCron } from '../system/node-cron.ts';

const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const bytes = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** A number, or text of digits and one of `units`; parsed to the unit that counts 1. */
function quantity(units: Record<string, number>, right: string, description: string) {
  const pattern = new RegExp(`^(\\d+)(${Object.keys(units).join('|')})$`);
  const text = v.pipe(
    v.string(),
    v.regex(pattern),
    v.transform((value) => {
      const [, digits, unit = ''] = pattern.exec(value) ?? [];
      return Number(digits) * (units[unit] ?? Number.NaN);
    }),
  );
  const number = v.pipe(v.number(), v.integer(), v.minValue(0));
  return v.pipe(v.union([number, text], right), v.description(description));
}

/** Longest time, in ms: a timer of Node.js that is longer than 24 days ends at once, and some timers add two settings. */
const longestDuration = 288 * milliseconds.h;

/**
 * A length of time: a number of milliseconds, or text such as `500ms`, `30s`, `15m`, `1h`.
 * At most 288 hours. Parsed to milliseconds.
 */
export function duration(description: string) {
  return v.pipe(
    quantity(
      milliseconds,
      'a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h"',
      description,
    ),
    v.maxValue(longestDuration, 'at most "288h", which is 12 days'),
  );
}

/** An amount of memory or disk: a number of bytes, or text such as `512K`, `256M`, `2G`. Parsed to bytes. */
export function size(description: string) {
  return v.pipe(
    quantity(bytes, 'a number of bytes, or text such as "512K", "256M" or "2G"', description),
    v.maxValue(Number.MAX_SAFE_INTEGER, 'at most "8388607G"'),
  );
}

/** A whole number within bounds, both included. */
export function count(description: string, minimum: number, maximum: number) {
  const right = `a whole number from ${minimum} to ${maximum}`;
  return v.pipe(
    v.number(right),
    v.integer(right),
    v.minValue(minimum, right),
    v.maxValue(maximum, right),
    v.description(description),
  );
}

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

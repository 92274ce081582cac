import * as v from 'valibot';
import { nodeCron } from '../system/process/footprint.ts';

/** @param expected what the text must be, for messages */
export function text(description: string, pattern: RegExp, expected: string) {
  return v.pipe(v.string(), v.regex(pattern, expected), v.description(description));
}

export function flag(description: string) {
  return v.pipe(v.boolean(), v.description(description));
}

/** A whole number from `minimum` to `maximum`. */
export function count(description: string, minimum: number, maximum: number) {
  const expected = `a whole number from ${minimum} to ${maximum}`;
  return v.pipe(
    v.number(expected),
    v.integer(expected),
    v.minValue(minimum, expected),
    v.maxValue(maximum, expected),
    v.description(description),
  );
}

const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const bytes = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Longest duration in ms: timers of Node.js overflow after 24 days, and some timers add two durations. */
const maxDuration = 288 * milliseconds.h;

/** A duration of at most 288 hours: a number of milliseconds, or text such as `500ms` or `15m`. Parsed to milliseconds. */
export function duration(description: string) {
  const expected = 'a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h"';
  return v.pipe(
    quantity(milliseconds, expected, description),
    v.maxValue(maxDuration, 'at most "288h", which is 12 days'),
  );
}

/** An amount of memory or disk space: a number of bytes, or text such as `512K` or `2G`. Parsed to bytes. */
export function size(description: string) {
  return v.pipe(
    quantity(bytes, 'a number of bytes, or text such as "512K", "256M" or "2G"', description),
    v.maxValue(Number.MAX_SAFE_INTEGER, 'at most "8388607G"'),
  );
}

/** A number, or text of digits and a unit. Parsed to the unit with the factor 1. */
function quantity(units: Record<string, number>, expected: string, description: string) {
  const pattern = new RegExp(`^(\\d+)(${Object.keys(units).join('|')})$`);
  const withUnit = v.pipe(
    v.string(),
    v.regex(pattern),
    v.transform((value) => {
      const [, digits, unit = ''] = pattern.exec(value) ?? [];
      return Number(digits) * (units[unit] ?? Number.NaN);
    }),
  );
  const number = v.pipe(v.number(), v.integer(), v.minValue(0));
  return v.pipe(v.union([number, withUnit], expected), v.description(description));
}

/** A cron expression in the syntax of node-cron. */
export function schedule(description: string) {
  const expected = 'a cron expression, such as "*/15 * * * *" or "0 3 * * mon-fri"';
  return v.pipe(
    v.string(expected),
    v.check(isSchedule, expected),
    v.description(
      `${description} Minute, hour, day, month and day of the week; optional seconds before them.`,
    ),
  );
}

/** Time zone of a schedule. */
export const timezone = v.optional(
  v.pipe(
    v.string(),
    v.check(isTimezone, 'the name of a time zone, such as "Europe/Berlin" or "UTC"'),
    v.description('Time zone of the schedule, such as `Europe/Berlin`. Default: time zone of the machine.'),
  ),
);

/** Daily and hourly schedules, which are valid. Avoids loading node-cron for them. */
const common = /^(?:\*|[1-5]?\d) (?:\*|1?\d|2[0-3]) \* \* \*$/;

function isSchedule(expression: string): boolean {
  return common.test(expression) || nodeCron().validate(expression);
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

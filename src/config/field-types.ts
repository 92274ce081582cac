import * as v from 'valibot';
import { isSchedule } from '../system/time/schedule.ts';

/** A setting that may be missing. @param fallback value of a missing setting, as written in a file */
export function setting<
  Schema extends v.GenericSchema,
  Fallback extends v.InferInput<Schema> | undefined = undefined,
>(description: string, schema: Schema, fallback?: Fallback) {
  return v.pipe(v.optional(schema, fallback as Fallback), v.description(description));
}

/** Names that schemas of valibot leave out of an object without a fault. */
const leftOut = ['__proto__', 'constructor', 'prototype'];

/** Returns a schema of an object that reports names which valibot would leave out: what they name would never run. */
function reportingAll<Schema extends v.GenericSchema>(schema: Schema, message: string): Schema {
  const run: Schema['~run'] = (dataset, config) => {
    const input = dataset.value;
    const result = schema['~run'](dataset, config);
    if (typeof input !== 'object' || input === null) return result;
    for (const key of leftOut.filter((name) => Object.hasOwn(input, name))) {
      const item = {
        type: 'object',
        origin: 'key',
        input: input as Record<string, unknown>,
        key,
        value: key,
      } as const;
      const about = { input: key, message, expected: 'never', path: [item] } as const;
      v._addIssue(schema as never, 'key', result as never, config as never, about as never);
    }
    return result;
  };
  return { ...schema, '~run': run };
}

/** Values by name, such as variables. */
export function record<Key extends v.GenericSchema<string, string>, Value extends v.GenericSchema>(
  key: Key,
  value: Value,
): v.RecordSchema<Key, Value, undefined> {
  return reportingAll(v.record(key, value), `a name other than ${leftOut.join(', ')}`);
}

/** A group of settings. Reports every unknown setting; a strict object of valibot reports only the first. */
export function group<const Entries extends v.ObjectEntries>(entries: Entries) {
  const schema = v.pipe(
    reportingAll(v.looseObject(entries), 'unknown setting'),
    v.rawCheck(({ dataset, addIssue }) => {
      const input = dataset.value as Record<string, unknown> | null;
      if (typeof input !== 'object' || input === null) return;
      for (const key of Object.keys(input).filter((name) => !Object.hasOwn(entries, name))) {
        const message = `unknown setting${suggestion(key, Object.keys(entries))}`;
        const item = { type: 'object', origin: 'key', input, key, value: input[key] } as const;
        addIssue({ message, expected: 'never', path: [item] });
      }
    }),
  );
  return schema as unknown as v.StrictObjectSchema<Entries, undefined>;
}

/** Returns ` (did you mean "workers"?)` for `worker`. */
function suggestion(name: string, known: string[]): string {
  const written = name.toLowerCase();
  const like = known.find((each) => {
    const other = each.toLowerCase();
    return written.length > 2 && (other.startsWith(written) || written.startsWith(other));
  });
  return like === undefined ? '' : ` (did you mean "${like}"?)`;
}

/** A group of settings that may be missing: all of them may be. */
export function optionalGroup<const Entries extends v.ObjectEntries>(entries: Entries) {
  return v.optional(group(entries), {} as never);
}

export const schemaForEditors = setting('JSON schema for editors. Sluice ignores it.', v.string());

/** @param expected what the text must be, for messages */
export function text(pattern: RegExp, expected: string) {
  return v.pipe(v.string(), v.regex(pattern, expected));
}

/** Command for a shell, of one or more lines. A NUL is rejected: no argument of a program can have one. */
export const shellCommand = text(/^(?=\s*\S)[^\0]+$/, 'a shell command, without NUL characters');

/** @param expected what the number must be, for messages */
export function count(
  minimum: number,
  maximum: number,
  expected = `a whole number from ${minimum} to ${maximum}`,
) {
  return v.pipe(
    v.number(expected),
    v.integer(expected),
    v.minValue(minimum, expected),
    v.maxValue(maximum, expected),
  );
}

/** A number, or text of digits and a unit. Parsed to the unit with the factor 1. */
function quantity(units: Record<string, number>, expected: string) {
  const pattern = new RegExp(`^(\\d+)(${Object.keys(units).join('|')})$`);
  const parse = (written: string) => Number.parseInt(written, 10) * (units[written.replace(/^\d+/, '')] ?? 0);
  const withUnit = v.pipe(v.string(), v.regex(pattern), v.transform(parse));
  return v.union([v.pipe(v.number(), v.integer(), v.minValue(0)), withUnit], expected);
}

/**
 * A duration: a number of milliseconds, or text such as `500ms` or `15m`. Parsed to milliseconds. Limited because timers of
 * Node.js overflow after 24 days, and some timers add two durations.
 */
export const duration = v.pipe(
  quantity(
    { ms: 1, s: 1000, m: 60_000, h: 3_600_000 },
    'a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h"',
  ),
  v.maxValue(288 * 3_600_000, 'at most "288h", which is 12 days'),
);

/** An amount of memory or disk space: a number of bytes, or text such as `512K` or `2G`. Parsed to bytes. */
export const size = v.pipe(
  quantity(
    { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 },
    'a number of bytes, or text such as "512K", "256M" or "2G"',
  ),
  v.maxValue(Number.MAX_SAFE_INTEGER, 'at most "8388607G"'),
);

/** An amount of memory of at least `megabytes`. Node.js needs as much; a smaller value most often lacks a unit. */
export function memory(megabytes: number) {
  return v.pipe(size, v.minValue(megabytes * 1024 ** 2, `at least "${megabytes}M"`));
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

const isTimezone = isAcceptedBy((timeZone) => new Intl.DateTimeFormat('en', { timeZone }));

/** Time zone of a schedule. */
export const timezone = setting(
  'Time zone of the schedule, such as `Europe/Berlin`. Default: time zone of the machine.',
  v.pipe(v.string(), v.check(isTimezone, 'the name of a time zone, such as "Europe/Berlin" or "UTC"')),
);

/** Returns a check that passes if `use` does not throw. */
export function isAcceptedBy(use: (value: string) => void): (value: string) => boolean {
  return (value) => {
    try {
      use(value);
      return true;
    } catch {
      return false;
    }
  };
}

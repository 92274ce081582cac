const lengths = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Description of the syntax of `parseSince`, for messages. */
export const sinceHint =
  'Write a duration before now as a number and s, m, h or d, such as 10m, or a time such as 2026-01-31T08:00:00Z.';

/**
 * Parses a duration before now (`30s`, `10m`, `2h`, `1d`), or a date with an optional time (ISO 8601). Returns undefined for other
 * text.
 * @param zone of a time without a zone
 */
export function parseSince(text: string, now: Date, zone: 'UTC' | 'local'): Date | undefined {
  if (isTimeBack(text)) {
    const unit = text.at(-1) as keyof typeof lengths;
    return valid(new Date(now.getTime() - Number(text.slice(0, -1)) * lengths[unit]));
  }
  const [, day, time = '00:00', offset] = momentPattern.exec(text) ?? [];
  if (day === undefined || !isDay(day)) return undefined;
  return valid(new Date(`${day}T${time}${offset ?? (zone === 'UTC' ? 'Z' : '')}`));
}

const momentPattern = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:?\d\d)?)?$/;

/** Returns true for a duration before now, such as `10m`. */
export function isTimeBack(text: string): boolean {
  return /^\d{1,9}[smhd]$/.test(text);
}

/** Returns false for days such as 30 February, which Date accepts as 2 March. */
function isDay(day: string): boolean {
  const midnight = new Date(`${day}T00:00Z`);
  return !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
}

/** Returns undefined for a time outside the range of Date. */
function valid(date: Date): Date | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date;
}

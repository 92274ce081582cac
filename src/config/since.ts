const lengths = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What `parseSince` takes, for messages. */
export const sinceHint =
  'A time back from now has a number and one of s, m, h and d, such as 10m; a moment is written as 2026-01-31T08:00:00Z.';

/**
 * A moment as a person writes it: back from now (`30s`, `10m`, `2h`, `1d`), or ISO 8601, a day or a day and a time.
 * Undefined where it is neither.
 * @param zone where a time is meant that does not say
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

/** `10m`, which means another moment whenever it is looked at. */
export function isTimeBack(text: string): boolean {
  return /^\d{1,9}[smhd]$/.test(text);
}

/** 30 February is none, although Date takes it for 2 March. */
function isDay(day: string): boolean {
  const midnight = new Date(`${day}T00:00Z`);
  return !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
}

/** Not a number of days that leads out of the calendar. */
function valid(date: Date): Date | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date;
}

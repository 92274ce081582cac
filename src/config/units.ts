import * as v from 'valibot';

const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const bytes = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 } as const;

/**
 * A length of time: a number of milliseconds, or text such as `500ms`, `30s`, `15m`, `1h`.
 * Parsed to milliseconds.
 */
export function duration(description: string) {
  return v.pipe(
    v.union(
      [
        v.pipe(v.number(), v.integer(), v.minValue(0)),
        v.pipe(
          v.string(),
          v.regex(/^\d+(?:ms|s|m|h)$/),
          v.transform((text) => {
            const [, number, unit] = /^(\d+)(\D+)$/.exec(text) ?? [];
            return Number(number) * milliseconds[unit as keyof typeof milliseconds];
          }),
        ),
      ],
      'a number of milliseconds, or text such as "500ms", "30s", "15m" or "1h"',
    ),
    v.description(description),
  );
}

/** An amount of memory or disk: a number of bytes, or text such as `512K`, `256M`, `2G`. Parsed to bytes. */
export function size(description: string) {
  return v.pipe(
    v.union(
      [
        v.pipe(v.number(), v.integer(), v.minValue(0)),
        v.pipe(
          v.string(),
          v.regex(/^\d+[KMG]?$/),
          v.transform((text) => {
            const [, number, unit = ''] = /^(\d+)(\D?)$/.exec(text) ?? [];
            return Number(number) * bytes[unit as keyof typeof bytes];
          }),
        ),
      ],
      'a number of bytes, or text such as "512K", "256M" or "2G"',
    ),
    v.description(description),
  );
}

/** A whole number within bounds, both included. */
export function count(description: string, minimum: number, maximum: number) {
  return v.pipe(
    v.number(`a whole number from ${minimum} to ${maximum}`),
    v.integer(`a whole number from ${minimum} to ${maximum}`),
    v.minValue(minimum, `a whole number from ${minimum} to ${maximum}`),
    v.maxValue(maximum, `a whole number from ${minimum} to ${maximum}`),
    v.description(description),
  );
}

/** `1536` → `1.5 KiB`: for messages. */
export function formatBytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let amount = value;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${amount < 10 && unit > 0 ? amount.toFixed(1) : Math.round(amount)} ${units[unit]}`;
}

/** `1500` → `1.5 s`: for messages. */
export function formatDuration(value: number): string {
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
  return `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`;
}

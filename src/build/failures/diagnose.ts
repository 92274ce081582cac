import { setImmediate } from 'node:timers/promises';
import { systemCode } from '../../errors/app-error.ts';
import { NotAFile } from '../../system/fs/read-file.ts';
import { printableLine } from '../../system/text/printable.ts';
import { knownFailures } from './known-failures.ts';
import type { Occasion } from './occasions.ts';

/** Values for the placeholders of a reason and a hint, by name. */
export type Values = Record<string, string>;

/** Output of a failed command or app, and where a pattern has matched. */
export interface Failure {
  occasion: Occasion;
  /** name of the environment in hints */
  app: string;
  /** release, or the directory in which the command ran; absolute */
  directory: string;
  /** command as the log shows it; empty for a boot */
  command: string;
  /** true if the workers of another release of the app run meanwhile */
  besideLive?: boolean;
  /** last lines of the output */
  output: string[];
}

export interface Match extends Failure {
  /** named groups of the pattern */
  groups: Values;
  /** index of the matching line */
  at: number;
}

/** One situation. `{name}` in `reason` and `hint` stands for a group of the pattern, a value of `check`, or `app`. */
export interface KnownFailure {
  /** occasions on which the row applies */
  on: readonly Occasion[];
  /** matches one line; takes linear time, because untrusted programs print the lines */
  pattern: RegExp;
  /** looks at further lines or at files of the release; returns further values, or undefined if the row does not apply */
  check?: (match: Match) => Values | undefined | Promise<Values | undefined>;
  /** half a sentence */
  reason: string;
  hint: string;
}

/** Reason of a failure, as far as the output shows it. */
export interface Diagnosis {
  reason: string;
  hint: string;
  /** index of the line that shows the reason */
  at: number;
}

/** Length of the searched part of a line. Untrusted programs may print very long lines. */
const maxSearchedLength = 1000;
/** Length of a value in a reason or a hint. */
const maxValueLength = 300;
const linesBefore = 3;
const quotedLines = 12;

/** Returns the reason of a failure by its output; undefined for an unknown failure. */
export async function diagnose(failure: Failure): Promise<Diagnosis | undefined> {
  const lines = failure.output.map((line) => printableLine(line.slice(0, maxSearchedLength), false));
  for (const { on, pattern, check, reason, hint } of knownFailures) {
    if (!on.includes(failure.occasion)) continue;
    // A hostile program may print lines that take a while to search: other requests are answered meanwhile.
    await setImmediate();
    const found = firstMatch(pattern, lines);
    if (found === undefined) continue;
    const { groups, at } = found;
    const more = check === undefined ? {} : await tolerant(check, { ...failure, output: lines, groups, at });
    if (more === undefined) continue;
    const values = { app: failure.app, ...groups, ...more };
    return { reason: fill(reason, values), hint: fill(hint, values), at };
  }
  return undefined;
}

/** Returns the lines that an error quotes: those around the line that shows the reason, or the last lines if it is not known. */
export function quoted<T>(lines: T[], at?: number): T[] {
  if (at === undefined) return lines.slice(-quotedLines);
  const start = Math.max(0, at - linesBefore);
  return lines.slice(start, start + quotedLines);
}

function firstMatch(pattern: RegExp, lines: string[]): { groups: Values; at: number } | undefined {
  for (const [at, line] of lines.entries()) {
    const match = pattern.exec(line);
    if (match !== null) return { groups: definedIn(match.groups ?? {}), at };
  }
  return undefined;
}

function definedIn(groups: Record<string, string | undefined>): Values {
  const entries = Object.entries(groups).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return Object.fromEntries(entries);
}

/** Runs a check. A row whose check cannot read a file of the app does not apply: the app may have changed its files. */
async function tolerant(
  check: NonNullable<KnownFailure['check']>,
  match: Match,
): Promise<Values | undefined> {
  try {
    return await check(match);
  } catch (error) {
    if (error instanceof NotAFile || systemCode(error) !== undefined) return undefined;
    throw error;
  }
}

function fill(text: string, values: Values): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return value.length > maxValueLength ? `${value.slice(0, maxValueLength)}…` : value;
  });
}

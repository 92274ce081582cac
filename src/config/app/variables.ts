import * as v from 'valibot';
import { text } from '../field-types.ts';

/** Limit of the variables in one place. */
const mostVariables = 1000;

const expectedName = 'a name of letters, digits and "_", but not one of SLUICE_…, which Sluice sets';
const name = text(/^(?!(?:SLUICE_.*|__proto__)$)[A-Za-z_][A-Za-z0-9_]{0,199}$/, expectedName);

/** Longest value: with its name, it must be shorter than MAX_ARG_STRLEN of Linux, execve(2). */
const longest = 100 * 1024;

const value = v.pipe(
  v.union([v.string(), v.number(), v.boolean()], 'text, a number, or true or false'),
  v.transform(String),
  v.check(
    (value) => !value.includes('\0') && Buffer.byteLength(value) <= longest,
    'at most 100 KiB without NUL characters',
  ),
);

/** Variables that are not secret, by name. Parsed to texts. */
export const variables = v.pipe(
  v.record(name, value),
  v.check((all) => Object.keys(all).length <= mostVariables, `at most ${mostVariables} variables`),
);

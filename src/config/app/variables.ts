import * as v from 'valibot';
import { record, setting, text } from '../field-types.ts';

/** Variables that the runner sets for each worker, beside SLUICE_…. */
export const reservedNames: ReadonlySet<string> = new Set(['PORT', 'NODE_APP_INSTANCE']);

/** Fault of a variable that an app may not set. */
export const setBySluice = 'set by Sluice itself';

/** Limit of the variables in one place. */
const mostVariables = 1000;

const expectedName = 'a name of letters, digits and "_", but not one of SLUICE_…, which Sluice sets';
const name = text(/^(?!(?:SLUICE_.*|__proto__)$)[A-Za-z_][A-Za-z0-9_]{0,199}$/, expectedName);

/** Longest value: with its name, it must be shorter than MAX_ARG_STRLEN of Linux, execve(2). */
const longest = 100 * 1024;

const value = v.pipe(
  v.union([v.string(), v.number(), v.boolean()], 'text, a number, or true or false'),
  v.transform(String),
);

/** Returns a check of each variable. Its faults never quote a value, which may be a secret. */
function checkEach<Value extends string | null>(faultOf: (name: string, value: Value) => string | undefined) {
  return v.rawCheck<Record<string, Value>>(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const [key, text] of Object.entries(dataset.value)) {
      const message = faultOf(key, text);
      const item = { type: 'object', origin: 'value', input: dataset.value, key, value: text } as const;
      if (message !== undefined) addIssue({ message, expected: 'never', path: [item] });
    }
  });
}

const atMost = `at most ${mostVariables} variables`;

function faultOfValue(_: string, text: string | null): string | undefined {
  const isInvalid = text?.includes('\0') || Buffer.byteLength(text ?? '') > longest;
  return isInvalid ? 'the value has a NUL character, or more than 100 KiB' : undefined;
}

/** Variables that are not secret, by name. Parsed to texts. */
export const variables = v.pipe(
  record(name, value),
  v.check((all) => Object.keys(all).length <= mostVariables, atMost),
  checkEach<string>(faultOfValue),
);

/** Variables of a background process: null for one that the process does not get. */
export const ofProcess = v.pipe(
  record(name, v.nullable(value)),
  v.check((all) => Object.keys(all).length <= mostVariables, atMost),
  checkEach<string | null>(faultOfValue),
);

export const env = setting(
  'Variables that are not secret: `{"LOG_LEVEL": "info"}`. They are part of a release. Variables of `sluice env set` take precedence over them. See docs/start.md.',
  v.pipe(
    variables,
    checkEach<string>((name) => (reservedNames.has(name) ? setBySluice : undefined)),
  ),
  {},
);

/** Names of variables whose values are secret, whoever can read the repository. */
const secretName = /passw|passphrase|(?:^|_)pass(?:_|$)|pwd|secret|token|key|credential/i;

/** URL with a password. */
const withPassword = /^[a-z][a-z\d+.-]*:\/\/[^/\s:@]*:[^/\s@]+@/i;

/** Returns the values of variables that are secret by their name, or contain a password. */
export function secretsAmong(variables: Record<string, string | null> = {}): string[] {
  return Object.entries(variables).flatMap(([name, value]) =>
    value !== null && (secretName.test(name) || withPassword.test(value)) ? [value] : [],
  );
}

import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import type { EnvironmentPaths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { fingerprint } from '../releases/fingerprints.ts';
import { writeJsonAtomic } from '../system/fs/files.ts';
import { assertVariables, loadVariables, readEnvFile, saveVariables } from './variables.ts';

/** Facts about a variable that `sluice env set` has set. */
export interface VariableFacts {
  /** true if the value is not secret */
  plain: boolean;
  /** who has set the variable, as in the history */
  by: string;
  /** ISO 8601 */
  at: string;
}

/** Variables that were set for an environment. A name is in one of `app` and `build`. */
export interface VariableSet {
  /** values for the app and its builds, by name */
  app: Record<string, string>;
  /** values for builds alone, by name */
  build: Record<string, string>;
  /** facts by name; none about variables that an early version of Sluice has set */
  facts: Record<string, VariableFacts>;
}

/** New value of a variable: secret text, or text with its kind; null removes the variable. */
export type VariableChange = string | null | { value: string; plain?: boolean; build?: boolean };

/** Changes of variables, by name. */
export type VariableChanges = Record<string, VariableChange>;

const fingerprintsSchema = v.object({
  key: v.string(),
  of: v.record(v.string(), v.string()),
});

const detailsSchema = v.object({
  build: v.record(v.string(), v.string()),
  facts: v.record(v.string(), v.object({ plain: v.boolean(), by: v.string(), at: v.string() })),
  fingerprints: fingerprintsSchema,
});

/**
 * Reads the variables of an environment. The app's own are in a file that all versions of Sluice read. The file of details has the
 * rest. A fact holds only for the value that it was recorded for, because the files are written one after the other, and an early
 * version of Sluice may have changed the value.
 * @throws AppError `invalid_env`
 */
export async function loadVariableSet(paths: EnvironmentPaths): Promise<VariableSet> {
  const app = await loadVariables(paths.env);
  const stored = await readEnvFile(paths.variableDetails);
  if (stored === undefined) return { app, build: {}, facts: {} };
  const parsed = v.safeParse(detailsSchema, stored);
  if (!parsed.success)
    throw new AppError('invalid_env', `${paths.variableDetails} is damaged`, {
      hint: 'Restore the file from a backup. Or remove the file, and set the build-only variables again.',
    });
  const { build: allBuild, facts, fingerprints } = parsed.output;
  assertVariables(allBuild, paths.variableDetails);
  const build = Object.fromEntries(Object.entries(allBuild).filter(([name]) => !Object.hasOwn(app, name)));
  const now = fingerprint({ ...build, ...app }, fingerprints.key).of;
  const isOfValue = (name: string) => now[name] !== undefined && now[name] === fingerprints.of[name];
  return { app, build, facts: Object.fromEntries(Object.entries(facts).filter(([name]) => isOfValue(name))) };
}

/**
 * Replaces the variables of an environment. If a crash or the disk interrupts the change, each variable has its old or its new
 * value: a variable that changes its kind is in both files for a moment, and is then a variable of the app.
 * @param before the present variables
 */
export async function saveVariableSet(
  paths: EnvironmentPaths,
  before: VariableSet,
  { app, build, facts }: VariableSet,
): Promise<void> {
  assertVariables({ ...build, ...app }, 'the new set of variables');
  const fingerprints = fingerprint({ ...build, ...app });
  const write = (values: Record<string, string>) =>
    writeJsonAtomic(paths.variableDetails, { build: values, facts, fingerprints }, 0o600);
  const moved = Object.entries(before.build).filter(([name]) => Object.hasOwn(app, name));
  await write({ ...Object.fromEntries(moved), ...build });
  // A change of build-only variables is one write, which succeeds or fails as a whole.
  if (!isDeepStrictEqual(app, before.app)) await saveVariables(paths.env, app);
  if (moved.length > 0) await write(build);
}

/** Returns a set of variables with changes. A variable that keeps its value and its kind keeps its facts. */
export function withChanges(
  before: VariableSet,
  changes: VariableChanges,
  { by, at }: { by: string; at: Date },
): VariableSet {
  const after = { app: { ...before.app }, build: { ...before.build }, facts: { ...before.facts } };
  for (const [name, change] of Object.entries(changes)) {
    const {
      value,
      plain = false,
      build = false,
    } = typeof change === 'object' && change !== null ? change : { value: change };
    const known = before.facts[name];
    delete after.app[name];
    delete after.build[name];
    delete after.facts[name];
    if (value === null) continue;
    after[build ? 'build' : 'app'][name] = value;
    const isSame = value === before[build ? 'build' : 'app'][name] && plain === (known?.plain ?? false);
    if (!isSame) after.facts[name] = { plain, by, at: at.toISOString() };
    else if (known !== undefined) after.facts[name] = known;
  }
  return after;
}

/** Returns true if a variable has the same value and the same kind in both sets. */
export function isSameVariable(name: string, one: VariableSet, other: VariableSet): boolean {
  const isPlain = ({ facts }: VariableSet) => facts[name]?.plain ?? false;
  const { app, build } = one;
  return (
    app[name] === other.app[name] && build[name] === other.build[name] && isPlain(one) === isPlain(other)
  );
}

/** Returns the values to mask: those of all variables that are not plain. */
export function secretValues({ app, build, facts }: VariableSet): string[] {
  const secret = Object.entries(app).filter(([name]) => !facts[name]?.plain);
  return [...secret.map(([, value]) => value), ...Object.values(build)];
}

import { fingerprint } from '../releases/fingerprints.ts';
import type { Fingerprints, ReleaseRecord } from '../releases/release.ts';
import type { VariableSet } from './variable-set.ts';

/** Beginnings of the names of variables whose values build tools write into the files for browsers. */
const builtIn = /^(?:NEXT_PUBLIC|VITE|REACT_APP|VUE_APP|GATSBY|EXPO_PUBLIC|NG_APP|STORYBOOK)_/;

/** Returns true if build tools write the value of a variable into their output, as its name says. */
export function isBuiltIn(name: string): boolean {
  return builtIn.test(name);
}

/**
 * Returns fingerprints of the variables that a build uses: all build-only variables, and those of the app that build tools write into
 * files or that the files of the build name.
 */
export function builtWith(set: VariableSet, named: ReadonlySet<string>): Fingerprints {
  return fingerprint({ ...ofApp(set, (name) => isBuiltIn(name) || named.has(name)), ...set.build });
}

/**
 * Returns the names of variables that the build of a release has used, and that have other values now.
 * @param before variables at the time of the build, for a release whose record has no fingerprints
 */
export function changedSinceBuild(
  { builtWith: recorded }: Pick<ReleaseRecord, 'builtWith'>,
  now: VariableSet,
  before = now,
): string[] {
  const { key, of } = recorded ?? builtWith(before, new Set());
  const current = fingerprint({ ...now.app, ...now.build }, key).of;
  const names = new Set([...Object.keys(of), ...Object.keys({ ...ofApp(now, isBuiltIn), ...now.build })]);
  return [...names].filter((name) => current[name] !== of[name]);
}

function ofApp({ app }: VariableSet, isUsed: (name: string) => boolean): Record<string, string> {
  return Object.fromEntries(Object.entries(app).filter(([name]) => isUsed(name)));
}

import * as v from 'valibot';
import { isName } from '../paths.ts';

const branchName = v.pipe(
  v.string(),
  // As git-check-ref-format(1) has it.
  v.regex(
    /^(?!refs\/|[-./]|.*(?:\.\.|\/\/|\/\.|@\{|\.lock(?:\/|$)|[./]$))[^\s\p{Cc}~^:?*[\\]+$/u,
    'a branch such as "main" or "release/next"',
  ),
);

function eachOnce(branches: Record<string, string[]>): boolean {
  const all = Object.values(branches).flat();
  return new Set(all).size === all.length;
}

export const branches = v.pipe(
  v.record(
    v.pipe(v.string(), v.check(isName, 'the name of an environment, such as "staging"')),
    v.pipe(
      v.union([branchName, v.array(branchName)], 'a branch such as "develop", or a list of them'),
      v.transform((names) => (Array.isArray(names) ? names : [names])),
    ),
  ),
  v.check(eachOnce, 'branches each of which belongs to one environment'),
  v.description(
    'Which branches deploy into which environment when they are pushed: `{"staging": "develop"}`. Production takes `main` and `master` unless it is named.',
  ),
);

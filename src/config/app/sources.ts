import { posix } from 'node:path';
import * as v from 'valibot';
import { isName } from '../paths.ts';

/** Below the root of the release and neither the root itself nor our records in it, however it is written. */
export const relativePath = v.pipe(
  v.string(),
  v.check((path) => {
    const [first] = posix.normalize(path).split('/');
    return (
      !['', '.', '..', '.sluice'].includes(first ?? '') &&
      !path.split('/').includes('..') &&
      // A control character in a path is a mistake, and no terminal shows the character.
      !/\p{Cc}/u.test(path)
    );
  }, 'a path inside the release, such as "uploads" or "data/shop.db"'),
  v.transform((path) => posix.normalize(path).replace(/\/$/, '')),
);

/** A directory of what is sent; with the name of an app before it where several apps share a repository. */
export const root = v.pipe(
  v.union(
    [relativePath, v.record(v.string(), relativePath)],
    'a directory such as "server", or one for each app: {"shop": "apps/shop"}',
  ),
  v.description(
    'Where the app lies in what is pushed or uploaded: a directory such as `server`, or, where a repository holds several apps, one for each: `{"shop": "apps/shop"}`. That directory is the release; the other settings stand in a sluice.json of its own.',
  ),
);

export const shared = v.optional(
  v.pipe(
    v.array(relativePath),
    v.check(areApart, 'paths none of which is, or lies in, another one'),
    v.description(
      'Paths that outlive releases (uploads, a SQLite file): links into the shared directory, `apps/APP/ENVIRONMENT/shared` of the home. What the live release has there is taken over.',
    ),
  ),
  [],
);

/** Of two paths one of which lies in the other, linking the second would go through the link of the first. */
function areApart(paths: string[]): boolean {
  return paths.every((path, index) =>
    paths.every((other, at) => at === index || !`${other}/`.startsWith(`${path}/`)),
  );
}

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

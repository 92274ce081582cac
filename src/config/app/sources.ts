import { posix } from 'node:path';
import * as v from 'valibot';
import { record, setting, text } from '../field-types.ts';
import { environmentName } from './environment-name.ts';

/** Path inside the release, except the root and the records of Sluice. Parsed to a normal path. */
export const relativePath = v.pipe(
  v.string(),
  v.check(isInside, 'a path inside the release, such as "uploads" or "data/shop.db"'),
  v.transform(normalPath),
);

/** Directory of the release; `.` for the release itself. Parsed to a normal path. */
export const directoryPath = v.pipe(
  v.string(),
  v.check(
    (path) => normalPath(path) === '.' || isInside(path),
    'a directory such as "dist", or "." for the whole release',
  ),
  v.transform(normalPath),
);

function normalPath(path: string): string {
  return posix.normalize(path).replace(/\/$/, '');
}

function isInside(path: string): boolean {
  const [first = ''] = posix.normalize(path).split('/');
  return (
    !['', '.', '..', '.sluice'].includes(first) &&
    !path.split('/').includes('..') &&
    // No terminal shows control characters, so one in a path is a mistake.
    !/\p{Cc}/u.test(path)
  );
}

export const root = setting(
  'Directory of the app in the pushed or uploaded files, such as `server`. For a repository with several apps, one directory for each: `{"shop": "apps/shop"}`. This directory becomes the release, and the sluice.json in it has all other settings. A member of a workspace stays in its workspace, which becomes the release. See docs/monorepos.md.',
  v.union(
    [relativePath, record(v.string(), relativePath)],
    'a directory such as "server", or one for each app: {"shop": "apps/shop"}',
  ),
);

export const directory = setting(
  'Directory of the app inside the release, such as `apps/web`. Its package.json has the start command. Commands run in this directory, and all paths in the settings are relative to it. See docs/monorepos.md.',
  relativePath,
);

export const shared = setting(
  'Paths that all releases share, such as uploads or a SQLite file. These paths become links into the shared directory, `apps/APP/ENVIRONMENT/shared` of the home. Sluice moves existing data of the live release into the shared directory.',
  v.pipe(v.array(relativePath), v.check(areApart, 'paths that are different and not inside each other')),
  [],
);

/** Returns true if no path contains another. The link of a path would be inside the link of another. */
function areApart(paths: string[]): boolean {
  return paths.every((path, index) =>
    paths.every((other, at) => at === index || !`${other}/`.startsWith(`${path}/`)),
  );
}

// git-check-ref-format(1)
const branchName = text(
  /^(?!refs\/|[-./]|.*(?:\.\.|\/\/|\/\.|@\{|\.lock(?:\/|$)|[./]$))[^\s\p{Cc}~^:?*[\\]+$/u,
  'a branch such as "main" or "release/next"',
);

const branchList = v.pipe(
  v.union([branchName, v.array(branchName)], 'a branch such as "develop", or a list of branches'),
  v.transform((names) => (Array.isArray(names) ? names : [names])),
);

/** Branches of one environment, in its settings. */
export const branchNames = setting(
  'Branches that deploy into the environment when you push them.',
  branchList,
);

export const branches = setting(
  'Branches that deploy into each environment when you push them: `{"staging": "develop"}`. Default of production: `main` and `master`.',
  record(environmentName, branchList),
);

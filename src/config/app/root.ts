import * as v from 'valibot';
import { relativePath } from './relative-path.ts';

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

import { posix } from 'node:path';
import * as v from 'valibot';

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

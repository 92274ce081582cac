import * as v from 'valibot';
import { relativePath } from './relative-path.ts';

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

import * as v from 'valibot';
import { group, setting } from '../field-types.ts';
import { directoryPath, relativePath } from './sources.ts';

const site = group({
  directory: setting('Directory of the files.', directoryPath, '.'),
  spa: setting(
    'Serve index.html for paths without a file (client-side routing). Default: true for tools and frameworks of such apps.',
    v.boolean(),
  ),
});

/** Static site. Parsed to an object. */
export const staticSite = setting(
  'Directory of a static site, such as `dist`, or an object. Sluice serves the files in place of a start command. Known build tools need no setting. See docs/static.md.',
  v.pipe(
    v.union([directoryPath, site], 'a directory such as "dist", or {"directory": …, "spa": …}'),
    v.transform((value): { directory: string; spa?: boolean | undefined } =>
      typeof value === 'string' ? { directory: value } : value,
    ),
  ),
);

export const assets = setting(
  'Directories of files with a hash in their name, such as `public/build`. Later releases keep the files that earlier live releases built there, for pages that browsers have open. Sluice also knows the directories of common tools. See docs/static.md.',
  v.pipe(v.array(relativePath), v.maxLength(50, 'at most 50 directories')),
  [],
);

import { createRequire } from 'node:module';

/** Not imported: the package imports `node:http`, which costs 6 MB; required, it does not. See src/system/net/http.ts. */
export const { default: Router } = createRequire(import.meta.url)(
  '@koa/router',
) as typeof import('@koa/router');

import { glob, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export interface ApiRoute {
  method: string;
  /** path with the parameters `:app`, `:name` and `:number` */
  path: string;
}

const source = resolve(import.meta.dirname, '../../src/api');

/** Reads the routes of the API from the source, so that no list goes out of date. */
export async function apiRoutes(): Promise<ApiRoute[]> {
  const files = await Array.fromAsync(glob('{routes,git}/*.ts', { cwd: source }), (file) =>
    readFile(join(source, file), 'utf8'),
  );
  return files.flatMap((code) =>
    [...code.matchAll(/\badd\(\s*['`]([A-Z]+) (\/(?:v1|git)\/[^'`]+)/g)].flatMap(
      ([, method = '', path = '']) =>
        variants(path.replace('{.git}', '')).map((each) => ({ method, path: each })),
    ),
  );
}

/** Expands routes that the source makes in a loop. */
function variants(path: string): string[] {
  if (/\$\{verb\}/.test(path))
    return ['restart', 'stop', 'start'].map((verb) => path.replace(/\$\{verb\}/, verb));
  if (!/\$\{name\}/.test(path)) return [path];
  return ['git-receive-pack', 'git-upload-pack'].map((name) => path.replace(/\$\{name\}/, name));
}

import { glob, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export interface ApiRoute {
  method: string;
  /** with `:app`, `:name` and `:number` for what a caller fills in */
  path: string;
}

const source = resolve(import.meta.dirname, '../../src/api/routes');

/** Reads from the source which routes the API has, so that no list of them grows old. */
export async function apiRoutes(): Promise<ApiRoute[]> {
  const files = await Array.fromAsync(glob('*.ts', { cwd: source }), (file) =>
    readFile(join(source, file), 'utf8'),
  );
  return files.flatMap((code) =>
    [...code.matchAll(/router\.(\w+)\(\s*['`](\/[^'`]+)/g)].flatMap(([, method = '', path = '']) =>
      variants(path).map((each) => ({ method: method.toUpperCase(), path: each })),
    ),
  );
}

/** Fills in what the source loops over. */
function variants(path: string): string[] {
  if (/\$\{verb\}/.test(path))
    return ['restart', 'stop', 'start'].map((verb) => path.replace(/\$\{verb\}/, verb));
  if (!/\$\{name\}/.test(path)) return [path];
  return ['git-receive-pack', 'git-upload-pack'].map((name) => path.replace(/\$\{name\}/, name));
}

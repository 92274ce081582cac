import { readFileSync } from 'node:fs';

/** Of this checkout; a server that runs may be of an earlier one. */
export function version(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;
}

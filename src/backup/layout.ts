import { type EnvironmentId, environmentName, isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';

/** Location of an entry in a backup, and so in the home. */
export interface Location {
  /** name of the entries that share a checksum */
  part: string;
  /** null for files of the whole appliance, and for repositories */
  id: EnvironmentId | null;
  /** true for files of an app: they may be links, and belong to the app's user */
  isOfApp: boolean;
}

/** Files of the whole appliance. The directory `edge` has the certificates and the ACME account. */
export const stateFiles = [
  'config.json',
  'tokens.json',
  'run-tokens.json',
  'keys.json',
  'events.jsonl',
  'events.jsonl.1',
  'domains.json',
];
export const edgeDirectory = 'edge';
/** Files of an environment. */
export const environmentFiles = ['app.json', 'env.json', 'env-details.json', 'cron.json', 'generation'];
/** Directories of an environment that outlive its releases. */
export const lastingDirectories = ['shared', 'home'];
/** Repository as one file. git writes a consistent bundle during pushes. */
export const bundleName = 'repo.bundle';

/** Returns the location of a path. @throws AppError `archive_unsafe` for a path that no backup has */
export function locate(path: string): Location {
  const parts = path.split('/');
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  const location = isPlain && !path.includes('\0') ? find(parts) : undefined;
  if (location === undefined) throw unsafeEntry(`${JSON.stringify(path)} is not a path of a backup`);
  return location;
}

export function unsafeEntry(message: string): AppError {
  return new AppError('archive_unsafe', message, {
    hint: 'Sluice does not write such a backup: somebody has changed it. Nothing was restored.',
  });
}

function find([first = '', app = '', environment = '', kind = '', ...rest]: string[]): Location | undefined {
  if (first === edgeDirectory || (app === '' && stateFiles.includes(first)))
    return { part: 'state', id: null, isOfApp: false };
  if (first !== 'apps' || !isName(app)) return undefined;
  if (kind === '' && environment === bundleName)
    return { part: `${app} ${bundleName}`, id: null, isOfApp: false };
  const isOfApp = belongsToApp(kind, rest);
  if (!isName(environment) || isOfApp === undefined) return undefined;
  const id = { app, environment };
  return { part: environmentName(id), id, isOfApp };
}

/** Returns the names of the parts of an environment and its app. */
export function partsOf(id: EnvironmentId): string[] {
  return [environmentName(id), `${id.app} ${bundleName}`];
}

/** Returns true for the directory of a release, which has the release's files and Sluice's records of it. */
export function isReleaseDirectory(path: string): boolean {
  return /^apps\/[^/]+\/[^/]+\/releases\/\d+$/.test(path);
}

/** @returns undefined for a path that no environment has */
function belongsToApp(kind: string, rest: string[]): boolean | undefined {
  if (lastingDirectories.includes(kind)) return true;
  if (kind === 'releases') {
    const [number = '', name] = rest;
    if (number !== '' && !/^[1-9]\d{0,8}$/.test(number)) return undefined;
    return number !== '' && name !== '.sluice';
  }
  return kind === '' || (environmentFiles.includes(kind) && rest.length === 0) ? false : undefined;
}

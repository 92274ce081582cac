import { type EnvironmentId, environmentName, isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';

/** Where something lies in a backup, and so in the home. */
export interface Place {
  /** what is counted and summed up together */
  part: string;
  /** whose it is; null for what is of the whole appliance */
  app: string | null;
  target: EnvironmentId | null;
  /** whether an app wrote it: there may be links in it, and where apps have users, it belongs to one */
  isOfApp: boolean;
}

/** Files of the whole appliance. Certificates and the account that they were had with are in `edge`. */
export const stateFiles = ['config.json', 'tokens.json', 'keys.json', 'events.jsonl', 'domains.json'];
export const edgeDirectory = 'edge';
/** Files of one environment. */
export const targetFiles = ['app.json', 'env.json', 'cron.json', 'generation'];
/** Directories of one environment that outlive its releases. */
export const lasting = ['shared', 'home'];
/** A repository as one file: git's own form for it, which is consistent whatever is pushed meanwhile. */
export const bundleName = 'repo.bundle';

/** Where an entry belongs. @throws AppError `archive_unsafe` where that is no place of a backup */
export function placeOf(path: string): Place {
  const parts = path.split('/');
  const isPlain = parts.every((part) => part !== '' && part !== '.' && part !== '..');
  const place = isPlain && !path.includes('\0') ? find(parts) : undefined;
  if (place === undefined) throw unsafeEntry(`${JSON.stringify(path)} has no place in a backup`);
  return place;
}

export function unsafeEntry(message: string): AppError {
  return new AppError('archive_unsafe', message, {
    hint: 'Sluice writes no such backup: somebody has changed it. Nothing of it was taken over.',
  });
}

function find([first = '', app = '', environment = '', kind = '', ...rest]: string[]): Place | undefined {
  const ofWhole: Place = { part: 'state', app: null, target: null, isOfApp: false };
  if (app === '') return stateFiles.includes(first) || first === edgeDirectory ? ofWhole : undefined;
  if (first === edgeDirectory) return ofWhole;
  if (first !== 'apps' || !isName(app) || environment === '') return undefined;
  if (kind === '' && environment === bundleName) {
    return { part: `${app} ${bundleName}`, app, target: null, isOfApp: false };
  }
  if (!isName(environment)) return undefined;
  const target = { app, environment };
  const isOfApp = belongsToApp(kind, rest);
  if (isOfApp === undefined) return undefined;
  return { part: environmentName(target), app, target, isOfApp };
}

/** Whether the files of a release are right below it, and our records of it. */
export function isRootOfTree(path: string): boolean {
  return /^apps\/[^/]+\/[^/]+\/releases\/\d+$/.test(path);
}

/** Undefined where there is nothing such in an environment. */
function belongsToApp(kind: string, rest: string[]): boolean | undefined {
  if (lasting.includes(kind)) return true;
  if (kind === 'releases') {
    const [number = '', inTree] = rest;
    if (number !== '' && !/^[1-9]\d{0,8}$/.test(number)) return undefined;
    return number !== '' && inTree !== '.sluice';
  }
  return kind === '' || (targetFiles.includes(kind) && rest.length === 0) ? false : undefined;
}

import { createHash } from 'node:crypto';
import { defaultEnvironment, type Target, targetName } from './paths.ts';

/** Linux takes 32 characters with the end of the string: useradd(8). */
const longest = 31;
const hashLength = 8;

/**
 * The system user that an app runs as in one of its environments: `sluice_shop`, `sluice_shop_staging`. Names of apps and
 * environments have no `_` and begin with a letter, so no two targets come to one name, and none to a shortened one,
 * which has two in a row: `sluice_a-very-long-ap__1f0c9a7d`.
 * @param owner the user that the home belongs to: two installs of different users do not share any
 */
export function appUserName(owner: string, target: Target): string {
  const { app, environment } = target;
  const suffix = environment === defaultEnvironment ? '' : `_${environment}`;
  const name = `${owner}_${app}${suffix}`;
  if (name.length <= longest) return name;
  const hash = createHash('sha256').update(targetName(target)).digest('hex').slice(0, hashLength);
  return `${name.slice(0, longest - hashLength - 2).replace(/_+$/, '')}__${hash}`;
}

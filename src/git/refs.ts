/** Prefix of branches. */
export const heads = 'refs/heads/';
/** Prefix of tags. */
export const tags = 'refs/tags/';
/** Prefix of refs that clients do not see: ENVIRONMENT/NUMBER for each release that a rollback can go to. */
export const releaseRefs = 'refs/sluice/';

/** Change of one ref in a push. An object id of zeros means no object. */
export interface RefUpdate {
  ref: string;
  old: string;
  new: string;
}

/** Returns true for the object id of a ref that does not exist before or after an update. */
export function isNone(object: string): boolean {
  return /^0+$/.test(object);
}

/** Returns true if one ref is a directory of the other, such as `refs/heads/a` and `refs/heads/a/b`: git allows only one. */
export function collide(one: string, other: string): boolean {
  return one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}

/** Branches. */
export const heads = 'refs/heads/';
export const tags = 'refs/tags/';
/** Refs of ours, shown to nobody: one for each release that can be gone back to, ENVIRONMENT/NUMBER. */
export const kept = 'refs/sluice/';

/** One ref that a push wants to change; an object of zeros only stands for none. */
export interface RefUpdate {
  ref: string;
  old: string;
  new: string;
}

/** Whether an object name of git stands for no object: of a ref that is made, or removed. */
export function isNone(object: string): boolean {
  return /^0+$/.test(object);
}

/** Whether one ref is a directory to the other, as `refs/heads/a` and `refs/heads/a/b`: git can have only one of them. */
export function collide(one: string, other: string): boolean {
  return one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}

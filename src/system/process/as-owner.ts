import { statSync } from 'node:fs';

/**
 * Runs `work`, which reads or writes below a directory that another user owns, with no more rights than that user has:
 * a link that this user has put there then leads root to nothing that the user could not reach anyway.
 * Not for two at a time: it is the whole process that changes its rights.
 */
export function asOwner<T>(directory: string, work: () => T): T {
  return asUser(statSync(directory), work);
}

/** The same with the rights of a user. */
export function asUser<T>({ uid, gid }: { uid: number; gid: number }, work: () => T): T {
  if (process.geteuid?.() !== 0 || uid === 0) return work();
  const groups = process.getgroups?.() ?? [];
  process.setgroups?.([gid]);
  process.setegid?.(gid);
  process.seteuid?.(uid);
  try {
    return work();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  }
}

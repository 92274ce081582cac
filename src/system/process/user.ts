import { readFileSync, statSync } from 'node:fs';

/** A user as /etc/passwd has it. */
export interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  comment: string;
  home: string;
}

/**
 * Finds a user in /etc/passwd. Reads the file each time: a process must never run as a user of a while ago. System users are in
 * the file itself, so no name service is asked.
 */
export function findUser(is: (entry: PasswdEntry) => boolean): PasswdEntry | undefined {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name = '', , uid = '', gid = '', comment = '', home = ''] = line.split(':');
    if (!/^\d+$/.test(uid) || !/^\d+$/.test(gid)) continue;
    const entry = { name, uid: Number(uid), gid: Number(gid), comment, home };
    if (is(entry)) return entry;
  }
  return undefined;
}

/**
 * Runs `work` with no more rights than the owner of a directory has: a link of the owner then points root only to
 * files that the owner can reach anyway. The whole process changes its rights, so `work` must be synchronous.
 */
export function asOwner<T>(directory: string, work: () => T): T {
  return asUser(statSync(directory), work);
}

/**
 * Gives the whole process the rights of a user until the result is disposed of, if the process is root: what the process reads in
 * that time is what the user may read. Only for a program that does nothing else meanwhile.
 */
export function takeRights({ name, uid, gid }: Pick<PasswdEntry, 'name' | 'uid' | 'gid'>): Disposable {
  const rights = new DisposableStack();
  if (process.geteuid?.() !== 0 || uid === 0) return rights;
  const groups = process.getgroups?.() ?? [];
  rights.defer(() => {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  });
  // The types of Node.js lack this function.
  (process as { initgroups?(user: string, group: number): void }).initgroups?.(name, gid);
  process.setegid?.(gid);
  process.seteuid?.(uid);
  return rights;
}

/** Runs `work` with the rights of a user; see `asOwner`. */
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

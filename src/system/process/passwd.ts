import { readFileSync } from 'node:fs';

/** A user as /etc/passwd has it. */
export interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
  comment: string;
  home: string;
}

/**
 * Read anew each time: what runs as whom must never rest on what was true a while ago. System users stand in the file
 * itself, so no name service is asked.
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

import * as v from 'valibot';
import { isName } from '../paths.ts';

/** What stands before an instance's number in the log is one of these already. */
const taken = ['web', 'cron'];

/** Names a background process or a job, in the log and in status. */
export const processName = v.pipe(
  v.string(),
  v.check(
    (name) => isName(name) && !taken.includes(name),
    'a name of small letters, digits and "-" that begins with a letter, such as "mail-worker", and is not "web" or "cron"',
  ),
);

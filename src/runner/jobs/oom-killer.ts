import { writeFileSync } from 'node:fs';
import { hasCode } from '../../errors/app-error.ts';

/** Of 1000 at most; what is ours, and the apps, have 0. */
const score = 500;

/**
 * Makes a process, and what it starts, the first to go where the machine runs out of memory: whatever is larger, it is
 * not to be an app that is live. Anybody may do that to their own (source: proc(5), oom_score_adj).
 */
export function offerToOomKiller(pid: number): void {
  if (process.platform !== 'linux') return;
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    // It has ended; or a container does not let us: then the kernel chooses as it would have.
    if (!hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'EROFS')) throw error;
  }
}

import type { ChildProcess } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';

/** Below live traffic: to unpack a large push, or to read a large tree, takes a core for a while. */
const niceness = 10;

/** Only ever downwards: nobody but root may raise a process that has been started with less. */
export function lower({ pid }: ChildProcess): void {
  if (pid !== undefined && getPriority() < niceness) setPriority(pid, niceness);
}

import type { Shortage } from '../protocol/runner.ts';
import { formatBytes } from '../system/text/format.ts';

/** How a process ended. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** where the kernel has killed it for memory */
  shortage?: Shortage | undefined;
}

/** Of one that could not be started at all. */
export const noExit: Exit = { code: null, signal: null };

export function describeExit({ code, signal, shortage }: Exit): string {
  if (shortage !== undefined) return `was killed by ${describeShortage(shortage)}`;
  if (signal !== null) return `was ended by ${signal}`;
  return code === null ? 'could not be started' : `ended with exit status ${code}`;
}

export function describeShortage({ of, limit }: Shortage): string {
  if (of === 'processes') return `the limit of ${limit} processes and threads ("maxProcesses")`;
  if (limit === null)
    return 'the kernel, because the memory of the machine, or of all apps together, ran out';
  return `the memory limit of ${formatBytes(limit)} ("memoryLimit")`;
}

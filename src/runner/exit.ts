import type { Shortage } from '../protocol/runner.ts';
import { signalProcess } from '../system/process/processes.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';

/** Result of a process. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** set if the kernel has killed the process for lack of memory */
  shortage?: Shortage | undefined;
}

/** Exit of a process that could not be started. */
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

interface EndOptions {
  signal: NodeJS.Signals;
  /** ms until SIGKILL */
  killTimeout: number;
  /** fulfilled when the process is gone */
  gone: Promise<unknown>;
}

/**
 * Ends a process: sends the stop signal to the process, and SIGKILL to its whole session after `killTimeout`.
 * @returns a clause for the log if the process was killed; undefined if it ended in time
 */
export async function endProcess(
  pid: number,
  { signal, killTimeout, gone }: EndOptions,
  send = signalProcess,
): Promise<string | undefined> {
  if (!send(pid, signal)) return undefined;
  let killed = false;
  const timer = setTimeout(() => {
    killed = send(-pid, 'SIGKILL');
  }, killTimeout);
  await gone;
  clearTimeout(timer);
  if (!killed) return undefined;
  return `was killed: it had not ended ${formatDuration(killTimeout)} after ${signal} ("killTimeout")`;
}

import { signalProcess } from '../system/process/processes.ts';
import { formatDuration } from '../system/text/format.ts';

interface EndOptions {
  signal: NodeJS.Signals;
  /** ms until SIGKILL */
  killTimeout: number;
  /** fulfilled when the process is gone */
  gone: Promise<unknown>;
}

/**
 * Ends a process: sends the stop signal to it, and SIGKILL to its whole session after `killTimeout`.
 * @returns a clause for the log if the process was killed; undefined if it ended in time
 */
export async function endProcess(
  pid: number,
  { signal, killTimeout, gone }: EndOptions,
): Promise<string | undefined> {
  if (!signalProcess(pid, signal)) return undefined;
  let killed = false;
  const timer = setTimeout(() => {
    killed = signalProcess(-pid, 'SIGKILL');
  }, killTimeout);
  await gone;
  clearTimeout(timer);
  if (!killed) return undefined;
  return `was killed: it had not ended ${formatDuration(killTimeout)} after ${signal} ("killTimeout")`;
}

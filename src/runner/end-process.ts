import { formatDuration } from '../system/amounts.ts';
import { signalProcess } from '../system/processes.ts';

interface EndOptions {
  signal: NodeJS.Signals;
  /** ms until SIGKILL */
  killTimeout: number;
  /** fulfilled when the process is gone */
  gone: Promise<unknown>;
}

/**
 * Ends a process: the stop signal, and SIGKILL to all of its session after `killTimeout`.
 * @returns why it was killed, for a log; undefined where it ended in time
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

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

export function describeExit({ code, signal, shortage }: Exit): string {
  if (shortage !== undefined) return `was killed by ${describeShortage(shortage)}`;
  return signal === null ? `ended with exit status ${code}` : `was ended by ${signal}`;
}

export function describeShortage({ of, limit }: Shortage): string {
  if (of === 'processes') return `the limit of ${limit} processes and threads ("maxProcesses")`;
  if (limit === null)
    return 'the kernel, because the memory of the machine, or of all apps together, ran out';
  return `the memory limit of ${formatBytes(limit)} ("memoryLimit")`;
}

interface EndOptions {
  signal: NodeJS.Signals;
  /** true for a shell that runs a command: see `receiverOf` */
  isShell?: boolean | undefined;
  /** sends the process a message in place of the signal; returns false if it cannot be sent */
  postShutdown?: (() => boolean) | undefined;
  /** ms until SIGKILL */
  killTimeout: number;
  /** fulfilled when the process is gone */
  gone: Promise<unknown>;
}

/**
 * Ends a process: sends the stop signal or the message to the process, and SIGKILL to its whole session after `killTimeout`.
 * @returns a clause for the log if the process was killed; undefined if it ended in time
 */
export async function endProcess(
  pid: number,
  { signal, isShell = false, postShutdown = () => false, killTimeout, gone }: EndOptions,
  send = signalProcess,
): Promise<string | undefined> {
  const isPosted = postShutdown();
  if (!isPosted && !send(receiverOf(pid, signal, isShell), signal)) return undefined;
  let killed = false;
  const timer = setTimeout(() => {
    killed = send(-pid, 'SIGKILL');
  }, killTimeout);
  await gone;
  clearTimeout(timer);
  if (!killed) return undefined;
  const asked = isPosted ? "the message 'shutdown'" : signal;
  return `was killed: it had not ended ${formatDuration(killTimeout)} after ${asked} ("killTimeout")`;
}

/**
 * Returns the receiver of a stop signal. A shell that waits for a program ignores SIGINT and SIGQUIT, because a terminal sends
 * these signals to the whole group. So they go to the group of a shell.
 */
export function receiverOf(pid: number, signal: NodeJS.Signals, isShell: boolean): number {
  return isShell && isOfTerminal(signal) ? -pid : pid;
}

/** Returns the signal for processes that a shell leaves: its own, unless they have got that signal as its group. */
export function signalOfLeftovers(signal: NodeJS.Signals | null): NodeJS.Signals {
  return signal === null || isOfTerminal(signal) ? 'SIGTERM' : signal;
}

function isOfTerminal(signal: NodeJS.Signals): boolean {
  return signal === 'SIGINT' || signal === 'SIGQUIT';
}

/** Calls `started` for a process that was just started. If `started` throws, kills the process and its session. */
export function killOnError(pid: number, started: () => void): void {
  try {
    started();
  } catch (error) {
    signalProcess(-pid, 'SIGKILL');
    throw error;
  }
}

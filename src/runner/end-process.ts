import { signalProcess } from '../system/processes.ts';

/** The stop signal, and SIGKILL to all of its session after `killTimeout` ms. */
export async function endProcess(pid: number, killTimeout: number, gone: Promise<unknown>): Promise<void> {
  if (!signalProcess(pid, 'SIGTERM')) return;
  const timer = setTimeout(() => signalProcess(-pid, 'SIGKILL'), killTimeout);
  await gone;
  clearTimeout(timer);
}

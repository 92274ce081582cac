import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import { type Identity, identityOptions } from '../users/identity.ts';
import type { ProcessOutput } from './process-output.ts';

/**
 * Starts a process in a session of its own, so that Ctrl-C in our terminal does not reach it, and captures its output.
 * @param stdio descriptors besides stdin, stdout and stderr
 * @param started called at once with the pid, to record the process; if it throws, the process is killed
 * @throws errors of `spawn` and of `started`; the output is removed then
 */
export function spawnCaptured(
  output: ProcessOutput,
  [command, ...args]: [string, ...string[]],
  { cwd, env, user }: { cwd: string; env: Record<string, string>; user: Identity | undefined },
  stdio: ('pipe' | number | Socket)[],
  started: (pid: number) => void,
): ChildProcess {
  const descriptors = output.open();
  try {
    const child = spawn(command, args, {
      cwd,
      ...identityOptions(user, env),
      stdio: ['ignore', ...descriptors, ...stdio],
      detached: true,
    });
    if (child.pid !== undefined) killOnError(child.pid, started);
    output.capture();
    return child;
  } catch (error) {
    output.remove();
    throw error;
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
}

/** Calls `started` for a process that was just started. If `started` throws, kills the process and its session. */
export function killOnError(pid: number, started: (pid: number) => void): void {
  try {
    started(pid);
  } catch (error) {
    signalProcess(-pid, 'SIGKILL');
    throw error;
  }
}

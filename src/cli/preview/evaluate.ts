import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import type { RunEvaluation } from '../../build/pm2/evaluation.ts';
import { patientTimer, withDeadline } from '../../system/concurrency/deadline.ts';
import { listPids, signalProcess, variableOf } from '../../system/process/processes.ts';
import { readUpTo, spawn, usualPath } from '../../system/process/run.ts';

/** Variables of the user that an evaluation gets. None of them holds a secret. */
const inherited = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR'];

/** Variable that marks the processes of one evaluation. */
const markVariable = 'SLUICE_JOB';

/** Longest wait for the output of an evaluation that has ended, in ms: a process that hides may have the pipe open. */
const closeDelay = 1000;

/** Limit of searches for processes of an evaluation: a hostile file may start them without an end. */
const mostSearches = 100;

/**
 * Returns a function that evaluates files of a directory on this machine, with the limits that a server has.
 * @param env variables that the environment sets
 */
export function evaluateIn(directory: string, env: Record<string, string>): RunEvaluation {
  return async ({ argv: [program, ...args], workingDirectory, timeout, maxOutput }) => {
    const mark = randomUUID();
    const own = inherited.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value] as const];
    });
    const child = spawn(program, args, {
      cwd: join(directory, workingDirectory),
      env: { PATH: usualPath, ...Object.fromEntries(own), ...env, [markVariable]: mark },
      stdio: ['ignore', 'pipe', 'ignore'],
      // A group of its own, with all processes that do not leave it.
      detached: true,
    });
    let timedOut = false;
    const end = () => child.pid !== undefined && signalProcess(-child.pid, 'SIGKILL');
    const late = () => {
      timedOut = true;
      end();
    };
    using _ = patientTimer(late, timeout);
    const output = readUpTo(child.stdout, maxOutput, end);
    const closed = once(child, 'close');
    const [code] = (await once(child, 'exit')) as [number | null];
    end();
    await endMarked(mark);
    await withDeadline(closed, closeDelay);
    child.stdout?.destroy();
    return { output: await output, code, timedOut };
  };
}

/** Kills the processes that an evaluation has started outside of its group. Each of them may have started another one. */
async function endMarked(mark: string): Promise<void> {
  for (let search = 0; search < mostSearches; search += 1) {
    const marked = (await listPids()).filter((pid) => variableOf(pid, markVariable) === mark);
    if (marked.filter((pid) => signalProcess(pid, 'SIGKILL')).length === 0) return;
  }
}

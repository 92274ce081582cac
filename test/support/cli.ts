import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export const sluiceBinary = fileURLToPath(new URL('../../bin/sluice', import.meta.url));

export interface CliOptions {
  /** another way to the same program */
  binary?: string;
  cwd?: string;
  /** undefined: without this variable */
  env?: Record<string, string | undefined>;
  /** stdin of the command */
  stdin?: 'ignore' | 'pipe';
  /** given the process, as it runs */
  whileRunning?: (child: ChildProcess) => void;
}

/** Runs the real `sluice`, as from a script: no terminal, and nothing of the tester's own settings. */
export async function cli(
  args: string[],
  { binary = sluiceBinary, cwd, env = {}, stdin = 'ignore', whileRunning }: CliOptions = {},
) {
  const { SLUICE_URL: _url, SLUICE_TOKEN: _token, SLUICE_HOME: _home, ...own } = process.env;
  const child = spawn(binary, args, {
    cwd,
    env: { ...own, HOME: '/nonexistent', XDG_CONFIG_HOME: '', ...env },
    stdio: [stdin, 'pipe', 'pipe'],
  }) as ChildProcessByStdio<Writable | null, Readable, Readable>;
  whileRunning?.(child);
  const [stdout, stderr] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exitCode === null && child.signalCode === null ? once(child, 'exit') : [],
  ]);
  return { code: child.exitCode, stdout, stderr };
}

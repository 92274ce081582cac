import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '../test/support/free-port.ts';
import { fetchText } from '../test/support/http.ts';
import { waitFor } from '../test/support/wait.ts';
import type { Scope } from './measurement.ts';
import { processTree } from './processes.ts';

/**
 * Starts a script without a process manager.
 * @param processes number of its processes: two workers and the one that has started them, unless stated otherwise
 */
export async function startAlone(
  scope: Pick<Scope, 'after'>,
  script: string,
  env: Record<string, string> = {},
  processes = 3,
): Promise<{ port: number; pids: number[] }> {
  const port = await freePort();
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, ...env, PORT: String(port) },
    stdio: 'inherit',
    detached: true,
  });
  const exited = once(child, 'exit');
  scope.after(() => {
    child.kill();
    return exited;
  });
  await waitFor(() => fetchText(port).catch(() => undefined), { what: script });
  // All of them, and not only the first worker, before the tree is read.
  const pids = await waitFor(async () => {
    const tree = await processTree(child.pid ?? 0);
    return tree.length === processes && tree;
  });
  return { port, pids };
}

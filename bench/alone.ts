import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '../test/support/free-port.ts';
import { fetchText } from '../test/support/http.ts';
import { waitFor } from '../test/support/wait.ts';
import type { Scope } from './measurement.ts';
import { processTree } from './processes.ts';

/** Starts a script that starts two workers, without a process manager. */
export async function startAlone(
  scope: Pick<Scope, 'after'>,
  script: string,
  env: Record<string, string> = {},
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
  // Both workers, and not only the first, before the tree is read.
  const pids = await waitFor(async () => {
    const tree = await processTree(child.pid ?? 0);
    return tree.length === 3 && tree;
  });
  return { port, pids };
}

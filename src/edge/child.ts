import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { ownEnvironment, spawn } from '../system/process/run.ts';

interface ChildOptions<Line> {
  /** kills the program when aborted */
  signal?: AbortSignal;
  env?: Record<string, string>;
  onLine?: (line: Line) => void;
}

/**
 * Runs a program beside this file in a process of its own. Its packages for certificates take 40 MB of memory, which a
 * process never returns, for some seconds in weeks. The program gets `task` as a line of JSON on its standard input, and
 * exits when that input ends, so it never outlives this process. The program prints lines of JSON.
 * @returns the last line
 * @throws Error with the program's standard error if its exit status is not 0
 */
export async function runChild<Line>(
  program: string,
  task: unknown,
  { signal, env, onLine }: ChildOptions<Line> = {},
): Promise<Line | undefined> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path], {
    env: ownEnvironment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(signal && { signal, killSignal: 'SIGKILL' }),
  });
  // A program that exits early does not read its input; its exit status reports the failure.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(task)}\n`);
  let last: Line | undefined;
  let isReadable = true;
  const lines = createInterface({ input: child.stdout }).on('line', (line) => {
    // The last line of a killed program may be incomplete. An error thrown here would end the server.
    try {
      last = JSON.parse(line) as Line;
      onLine?.(last);
    } catch {
      isReadable = false;
    }
  });
  const [errors, [code, killedBy]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  lines.close();
  if (code !== 0) throw new Error(`${program} ended with ${killedBy ?? code}: ${errors.slice(-2000)}`);
  // The parser's message would quote the line, which may have a private key.
  if (!isReadable) throw new Error(`${program} printed a line that cannot be read`);
  return last;
}

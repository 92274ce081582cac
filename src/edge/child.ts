import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { ownEnvironment, spawn } from '../system/process/run.ts';

interface ChildOptions {
  /** ends it early, at once */
  signal?: AbortSignal;
  env?: Record<string, string>;
  onLine: (line: string) => void;
}

/**
 * Runs one of the programs beside this file in a process of its own: what they need to deal with certificates takes
 * 40 MB, which a process never gives back, and is needed for seconds in weeks. It gets `task` as a line of JSON, and
 * ends when we do: its standard input ends then.
 * @throws Error where it does not end well, with what it had to say
 */
export async function runChild(
  program: string,
  task: unknown,
  { signal, env, onLine }: ChildOptions,
): Promise<void> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path], {
    env: ownEnvironment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(signal && { signal, killSignal: 'SIGKILL' }),
  });
  // One that could not be started, or has ended, takes nothing; its exit tells.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(task)}\n`);
  let failure: unknown;
  // Of a program that was killed, the last line may be cut off. Thrown from a listener, an error would end the server.
  const read = (line: string) => {
    try {
      onLine(line);
    } catch (error) {
      failure ??= error;
    }
  };
  const lines = createInterface({ input: child.stdout }).on('line', read);
  const [errors, [code, killedBy]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  lines.close();
  if (code !== 0) throw new Error(`${program} ended with ${killedBy ?? code}: ${errors.slice(-2000)}`);
  // An error of the parser would quote the line, which may have a private key.
  if (failure !== undefined) throw new Error(`${program} printed a line that cannot be read`);
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface CommandOptions {
  input?: string | Buffer;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** milliseconds, after which it is killed */
  timeout?: number;
}

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. @throws where it fails, with what it printed */
export async function run(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await attempt(program, args, options);
  if (code !== 0) throw new Error(`${[program, ...args].join(' ')} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/** The same, whether or not it succeeds. @throws where it does not end in time */
export async function attempt(
  program: string,
  args: readonly string[],
  { input, cwd, env, timeout = 60_000 }: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(program, args, { cwd, env, stdio: 'pipe' });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    // Whoever has inherited them would hold us up.
    child.stdout.destroy();
    child.stderr.destroy();
  }, timeout);
  // A program that does not read its input to the end has no use for it.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  if (late)
    throw new Error(`${[program, ...args].join(' ')} took more than ${timeout} ms:\n${stdout}${stderr}`);
  return { code, stdout, stderr };
}

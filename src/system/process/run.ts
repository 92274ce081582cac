import { spawn as nodeSpawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { patientTimer } from '../concurrency/deadline.ts';
import { formatDuration } from '../text/format.ts';

/** Directories of programs, for a process without a PATH of its own. */
export const usualPath = '/usr/local/bin:/usr/bin:/bin';

/**
 * Returns the variables of a program that Sluice itself starts. The program inherits no variable of ours: NODE_OPTIONS, TMPDIR or
 * HOME may name a place where others can write. Only PATH is passed on: bin/sluice and libexec/unit have set it. The program has
 * no home, and npm keeps no compiled code in /tmp.
 * @param extra more variables that this program needs
 */
export function ownEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? usualPath,
    HOME: '/',
    LC_ALL: 'C',
    NODE_DISABLE_COMPILE_CACHE: '1',
    ...extra,
  };
}

/** pids of the programs that run */
const children = new Set<number>();

/**
 * Starts a program like `spawn` of Node.js, but with nothing of ours: neither our variables nor our working directory, which may
 * be that of an app. Only this file starts programs; a test checks that.
 */
export const spawn = ((program: string, args: string[], options: SpawnOptions = {}) => {
  const child = nodeSpawn(program, args, {
    ...options,
    env: options.env ?? ownEnvironment(),
    cwd: options.cwd ?? '/',
  });
  const { pid } = child;
  if (pid !== undefined) {
    children.add(pid);
    child.once('exit', () => children.delete(pid));
  }
  return child;
}) as typeof nodeSpawn;

/** Returns true for a child that `spawn` has started and that has not emitted `exit`. Until then, no other process gets its pid. */
export function isChild(pid: number): boolean {
  return children.has(pid);
}

interface RunOptions extends Pick<SpawnOptions, 'env' | 'cwd' | 'uid' | 'gid' | 'detached' | 'stdio'> {
  input?: string;
  /** limit of the time, in ms */
  timeout?: number;
  /** signal that ends the program after `timeout`; SIGTERM by default, which a hostile program may ignore */
  killSignal?: NodeJS.Signals;
  /** limit of each output, in bytes: a program of another user may print anything */
  maxOutput?: number;
  /** true to end the program at Ctrl-C, although it has a session of its own */
  endOnInterrupt?: boolean;
}

/**
 * Runs a program to its end, and returns the texts that the program printed.
 * @throws ProgramFailed; the error of the system if the program cannot be started
 */
export async function run(
  program: string,
  args: string[],
  {
    input = '',
    timeout = 0,
    killSignal = 'SIGTERM',
    maxOutput = 64 * 1024 ** 2,
    endOnInterrupt = false,
    ...options
  }: RunOptions = {},
): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(program, args, options);
  let reason: string | undefined;
  let Failure = ProgramFailed;
  const end = (why: string, signal: NodeJS.Signals) => {
    reason ??= why;
    child.kill(signal);
    // Another process may have the pipes open.
    child.stdout?.destroy();
    child.stderr?.destroy();
  };
  const tooMuch = () => {
    Failure = OutputTooLong;
    end(`${program} prints more than ${maxOutput} bytes`, 'SIGKILL');
  };
  const late = () => end(`${program} timed out after ${formatDuration(timeout)}`, killSignal);
  const interrupted = () => end(`${program} was interrupted`, 'SIGKILL');
  // The `timeout` of `spawn` would keep this process alive if the program cannot be started.
  using _timer = timeout === 0 ? undefined : patientTimer(late, timeout);
  if (endOnInterrupt) process.on('SIGINT', interrupted);
  try {
    // Without a free descriptor there are no streams. A program that does not read its input reports by its exit.
    child.stdin?.on('error', () => undefined).end(input);
    const [stdout, stderr, [code, signal]] = await Promise.all([
      readUpTo(child.stdout, maxOutput, tooMuch),
      readUpTo(child.stderr, maxOutput, tooMuch),
      once(child, 'close'),
    ]);
    if (code === 0 && !child.killed) return { stdout, stderr };
    const message = reason ?? (stderr.trim() || `${program} ended with ${signal ?? code}`);
    throw new Failure(message, { code, stdout, stderr });
  } finally {
    process.off('SIGINT', interrupted);
  }
}

/** Program that was started, and failed or was ended. */
export class ProgramFailed extends Error {
  /** exit status; null after a signal */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    message: string,
    {
      code = null,
      stdout = '',
      stderr = '',
      cause,
    }: { code?: number | null; stdout?: string; stderr?: string; cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.code = code;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** Program that printed more than its limit. */
export class OutputTooLong extends ProgramFailed {}

/** Reads a stream to its end; calls `tooMuch` after more than `most` bytes. */
export async function readUpTo(
  stream: Readable | null | undefined,
  most: number,
  tooMuch: () => void,
): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > most) tooMuch();
    else chunks.push(chunk);
  });
  // Rejected if `tooMuch` or a timeout destroys it: the exit status then says what has happened.
  if (stream) await finished(stream, { error: false }).catch(() => undefined);
  return Buffer.concat(chunks).toString();
}

/** A user and a group, as the kernel has them. */
interface User {
  uid: number;
  gid: number;
}

/**
 * Returns the options of `spawn` that start a program as another user, if we are root. The program gets a session of its own:
 * otherwise it could type into the terminal of root (ioctl_tty(2), TIOCSTI).
 */
export function asOther({ uid, gid }: User): Pick<SpawnOptions, 'uid' | 'gid' | 'cwd' | 'detached'> {
  return process.getuid?.() === 0 && uid !== 0 ? { uid, gid, cwd: '/', detached: true } : { cwd: '/' };
}

/**
 * Runs a program as another user, if we are root, and returns its output. Ctrl-C ends the program, as it ends programs in our
 * own session.
 * @throws ProgramFailed; the error of the system if the program cannot be started
 */
export async function runAs(
  user: User,
  [program, ...args]: [string, ...string[]],
  options: Pick<RunOptions, 'env' | 'input' | 'timeout' | 'stdio'> = {},
): Promise<string> {
  // The other user may have stopped the program: only SIGKILL ends it then.
  const limits = { killSignal: 'SIGKILL', endOnInterrupt: true } as const;
  return (await run(program, args, { ...asOther(user), ...limits, ...options })).stdout;
}

/** Returns true if this user can run a program from a PATH. */
export async function isOnPath(program: string, path: string): Promise<boolean> {
  for (const directory of path.split(delimiter)) {
    const found = await access(join(directory, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}

import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';

/** Limits the output of a program, in bytes: a program of another user may print anything. */
const longest = 64 * 1024 ** 2;

/** A user and a group, as the kernel has them. */
interface User {
  uid: number;
  gid: number;
}

/**
 * What makes `spawn` start a program as another user, where we are root: in a session of its own, for it could otherwise
 * type into the terminal that root sits at (ioctl_tty(2), TIOCSTI), and what it runs may be up to that user.
 */
export function asOther({ uid, gid }: User): Pick<SpawnOptions, 'uid' | 'gid' | 'cwd' | 'detached'> {
  return process.getuid?.() === 0 && uid !== 0 ? { uid, gid, cwd: '/', detached: true } : { cwd: '/' };
}

/**
 * Runs a program as another user, where we are root, and gives what it printed. Ctrl-C ends it, as it does what is in our
 * own session.
 * @throws Error with what it had to say; the system's where it cannot be started
 */
export async function runAs(
  user: User,
  [program, ...args]: [string, ...string[]],
  { env, input = '', timeout }: { env: Record<string, string>; input?: string; timeout?: number },
): Promise<string> {
  const child = spawn(program, args, { ...asOther(user), env });
  // The other user may have stopped the program, or a process of that user may keep the pipe open.
  const end = () => {
    child.kill('SIGKILL');
    child.stdout?.destroy();
    child.stderr?.destroy();
  };
  // The `timeout` of `spawn` would keep this process alive if the program cannot be started.
  const timer = timeout === undefined ? undefined : setTimeout(end, timeout);
  process.on('SIGINT', end);
  try {
    child.stdin?.on('error', () => undefined).end(input);
    const [out, said, [code, signal]] = await Promise.all([
      readUpTo(child.stdout, longest, end),
      readUpTo(child.stderr, longest, end),
      once(child, 'close'),
    ]);
    if (code === 0) return out.toString();
    throw new ProgramFailed(said.toString().trim() || `${program} ended with ${signal ?? code}`);
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', end);
  }
}

/** Reads a stream to its end; calls `tooMuch` after more than `most` bytes. */
async function readUpTo(stream: Readable | null, most: number, tooMuch: () => void): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > most) return tooMuch();
    chunks.push(chunk);
  });
  // Rejected if `tooMuch` or a timeout destroys it: the exit status then says what has happened.
  if (stream !== null) await finished(stream, { error: false }).catch(() => undefined);
  return Buffer.concat(chunks);
}

/** The program was started, and did not end well. */
export class ProgramFailed extends Error {}

import { randomUUID } from 'node:crypto';
import { chownSync, closeSync, constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { run } from '../../system/process/run.ts';
import type { Identity } from '../users/identity.ts';
import type { Connection } from './connection.ts';

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;

/**
 * Opens pipes for the input and the output of a command. They are FIFOs, because the pipes of `spawn` are sockets, and a process
 * cannot open a socket by its name: `cat /dev/stdin` and `echo >/dev/stderr` would fail.
 * @param directory only the runner may write there
 * @param user user of the command, if apps have users
 */
export async function openPipes(directory: string, user: Identity | undefined): Promise<Connection> {
  const path = join(directory, randomUUID());
  const fifos = ['in', 'out', 'err'].map((name) => `${path}.${name}`);
  using opened = new DisposableStack();
  const theirs = opened.use(new DisposableStack());
  const ours = opened.use(new DisposableStack());
  try {
    // Node.js has no call for FIFOs.
    await run('mkfifo', ['-m', '600', ...fifos]);
    // The command may open its FIFOs once more, as /dev/stdin or /dev/stdout.
    if (user !== undefined) for (const fifo of fifos) chownSync(fifo, user.uid, user.gid);
    const ends = fifos.map((fifo, index) => {
      const { command, own } = openEnds(fifo, index === 0 ? 'read' : 'write');
      return { command: theirs.adopt(command, closeSync), own: ours.adopt(own, closeSync) };
    });
    const [input = -1, stdout = -1, stderr = -1] = ends.map(({ own }) => own);
    const unused = opened.move();
    return {
      stdio: ends.map(({ command }) => command),
      started() {
        // The sockets close these descriptors.
        ours.move();
        return {
          input: new Socket({ fd: input, readable: false, writable: true }),
          stdout: new Socket({ fd: stdout, readable: true, writable: false }),
          stderr: new Socket({ fd: stderr, readable: true, writable: false }),
        };
      },
      [Symbol.dispose]: () => unused.dispose(),
    };
  } finally {
    for (const fifo of fifos) rmSync(fifo, { force: true });
  }
}

/** Opens both ends of a FIFO. @param command use of the FIFO by the command, whose end blocks as that of a pipe */
function openEnds(fifo: string, command: 'read' | 'write'): { command: number; own: number } {
  // As long as one descriptor can read and write, no other open waits.
  const both = openSync(fifo, 'r+');
  try {
    const [theirMode, ownMode] = command === 'read' ? [O_RDONLY, O_WRONLY] : [O_WRONLY, O_RDONLY];
    const end = openSync(fifo, theirMode);
    try {
      return { command: end, own: openSync(fifo, ownMode | O_NONBLOCK) };
    } catch (error) {
      closeSync(end);
      throw error;
    }
  } finally {
    closeSync(both);
  }
}

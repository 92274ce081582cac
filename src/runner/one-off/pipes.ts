import { once } from 'node:events';
import { closeSync, constants, fchownSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { spawn } from '../../system/process/run.ts';
import { assertPerl, perl } from '../perl.ts';
import type { Identity } from '../users/identity.ts';
import type { Connection } from './connection.ts';

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;

/** Program that makes three pipes, prints the descriptors of their reading and writing ends in turn, and waits for the end of its input. */
const makePipes =
  'for (1..3) { pipe(my $r, my $w) or die "pipe: $!\\n"; push @ends, $r, $w } $| = 1; print join(" ", map { fileno($_) } @ends), "\\n"; <STDIN>';

/**
 * Opens pipes for the input and the output of a command. The pipes of `spawn` are sockets, and a process cannot open a socket by its
 * name: `cat /dev/stdin` would fail. A FIFO would wait for a writer there if the input has ended already. Node.js has no call for
 * pipes, so a program makes them.
 * @param user user of the command, if apps have users
 * @throws AppError `perl_missing`
 */
export async function openPipes(user: Identity | undefined): Promise<Connection> {
  assertPerl();
  using opened = new DisposableStack();
  const theirs = opened.use(new DisposableStack());
  const ours = opened.use(new DisposableStack());
  const maker = spawn(perl, ['-e', makePipes], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(maker, 'close');
  const [line] = await Promise.race([once(maker.stdout, 'data'), closed.then(() => [''])]);
  const fds = String(line).trim().split(' ').map(Number);
  if (fds.length !== 6) throw new Error(`${perl} has made no pipes`);
  const openEnd = (index: number, flags: number) => openSync(`/proc/${maker.pid}/fd/${fds[index]}`, flags);
  try {
    const ends = [0, 2, 4].map((reading) => {
      const [theirEnd, ownEnd] = reading === 0 ? [0, 1] : [reading + 1, reading];
      const [theirMode, ownMode] = reading === 0 ? [O_RDONLY, O_WRONLY] : [O_WRONLY, O_RDONLY];
      const command = theirs.adopt(openEnd(theirEnd, theirMode), closeSync);
      // The command may open its ends once more, as /dev/stdin or /dev/stdout.
      if (user !== undefined) fchownSync(command, user.uid, user.gid);
      return { command, own: ours.adopt(openEnd(ownEnd, ownMode | O_NONBLOCK), closeSync) };
    });
    maker.stdin.end();
    // As long as the program has the ends, no reader sees the end of a pipe.
    await closed;
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
    maker.stdin.destroy();
  }
}

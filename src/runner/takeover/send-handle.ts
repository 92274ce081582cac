import { Socket } from 'node:net';

/** The kind of a pipe that carries handles: PipeConstants.IPC of Node.js. */
const ipc = 2;

interface WriteRequest {
  handle?: unknown;
  oncomplete(...args: unknown[]): void;
}

interface PipeHandle {
  readonly fd: number;
  open(fd: number): number;
  close(closed?: () => void): void;
  readStart(): number;
  readStop(): number;
  writeUtf8String(request: WriteRequest, text: string, handle?: PipeHandle): number;
}

/**
 * Second handles that no call uses, by descriptor number. To close one would close the descriptor of the first handle, so the
 * next socket with that number uses the second handle again.
 */
const spare = new Map<number, PipeHandle>();

/** Socket or bound port whose descriptor can be sent. */
export type Sendable = Socket | { readonly _handle: unknown };

/**
 * Writes texts, and with each the descriptor of a socket. Node.js sends descriptors over IPC channels only, and those read
 * descriptors too, which the runner must never do. So the texts are written by a second handle of the same socket, which is
 * never read from.
 * @param socket has nothing else to write meanwhile
 * @returns false if a write failed; later texts are not written then. Either a descriptor is closed, or the system refuses
 *   another one in flight.
 */
export async function sendHandles(
  socket: Socket,
  parts: { text: string; sent: Sendable }[],
): Promise<boolean> {
  const own = handleOf(socket);
  const pipe = own && (spare.get(own.fd) ?? openAgain(own));
  if (own === undefined || pipe === undefined) return false;
  const { fd } = own;
  spare.delete(fd);
  const writer = new Socket({ handle: pipe, readable: false, writable: true, manualStart: true } as object);
  // Each write reports its own failure.
  writer.on('error', () => undefined);
  let isSent = true;
  for (const { text, sent } of parts) {
    const handle = handleOf(sent);
    // A socket that is closed may have left its descriptor to another one.
    isSent = handle !== undefined && handleOf(socket) === own;
    if (!isSent) break;
    pipe.writeUtf8String = (request, chunk) => {
      const { oncomplete } = request;
      request.oncomplete = (...args) => {
        // `request.handle` is the sent handle here. Node.js would take its owner for the socket that was written to.
        request.handle = pipe;
        oncomplete.apply(request, args);
      };
      return own.writeUtf8String.call(pipe, request, chunk, handle);
    };
    isSent = await new Promise((resolve) => writer.write(text, (error) => resolve(!error)));
    if (!isSent) break;
  }
  spare.set(fd, pipe);
  return isSent;
}

function openAgain(own: PipeHandle): PipeHandle | undefined {
  const Pipe = own.constructor as new (kind: number) => PipeHandle;
  const pipe = new Pipe(ipc);
  // A descriptor that is being read from cannot be opened a second time.
  own.readStop();
  const error = pipe.open(own.fd);
  own.readStart();
  // A write that fails closes the handle, and with it whatever has the number of the descriptor by then.
  pipe.close = (closed) => closed && process.nextTick(closed);
  return error === 0 ? pipe : undefined;
}

function handleOf(socket: Sendable): PipeHandle | undefined {
  return (socket as { _handle: PipeHandle | null })._handle ?? undefined;
}

import { Socket } from 'node:net';

/** The kind of a pipe that carries handles: PipeConstants.IPC of Node.js. */
const ipc = 2;

interface PipeHandle {
  readonly fd: number;
  open(fd: number): number;
  close(closed?: () => void): void;
  readStart(): number;
  readStop(): number;
  writeUtf8String(request: object, text: string, handle?: PipeHandle): number;
}

/**
 * Writes one text, and with it the descriptor of a socket unless that is closed. Node.js sends descriptors over IPC
 * channels only, and those read descriptors too, which the runner must never do. So the text is written by a second
 * handle of the same socket.
 * It is never read from and never closed, for the descriptor is the first one's to close: to be called once for each
 * process on the other end, since what Node.js keeps of the handle stays.
 */
export function sendHandle(socket: Socket, text: string, sent: Socket): void {
  const own = handleOf(socket);
  const given = handleOf(sent);
  if (own === undefined) return;
  if (given === undefined) {
    socket.write(text);
    return;
  }
  const Pipe = own.constructor as new (kind: number) => PipeHandle;
  const pipe = new Pipe(ipc);
  // A descriptor that is being read from cannot be opened a second time.
  own.readStop();
  const error = pipe.open(own.fd);
  own.readStart();
  if (error !== 0) {
    socket.write(text);
    return;
  }
  const write = pipe.writeUtf8String;
  pipe.writeUtf8String = (request, chunk) => write.call(pipe, request, chunk, given);
  // A write that fails closes the handle, and with it whatever has the number of the descriptor by then.
  pipe.close = (closed) => closed && process.nextTick(closed);
  const writer = new Socket({ handle: pipe, readable: false, writable: true, manualStart: true } as object);
  // The other end is gone: the socket itself says so.
  writer.on('error', () => undefined);
  writer.write(text);
}

function handleOf(socket: Socket): PipeHandle | undefined {
  return (socket as unknown as { _handle: PipeHandle | null })._handle ?? undefined;
}

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
 * Writes texts, and with each the descriptor of a socket. Node.js sends descriptors over IPC channels only, and those read
 * descriptors too, which the runner must never do. So the texts are written by a second handle of the same socket.
 * It is never read from and never closed, for the descriptor is the first one's to close: to be called seldom, since
 * what Node.js keeps of the handle stays.
 * @returns false if a descriptor is closed, and nothing was written
 */
export function sendHandles(socket: Socket, parts: { text: string; sent: Socket }[]): boolean {
  const own = handleOf(socket);
  const given = parts.map(({ sent }) => handleOf(sent));
  if (own === undefined || given.includes(undefined)) return false;
  const Pipe = own.constructor as new (kind: number) => PipeHandle;
  const pipe = new Pipe(ipc);
  // A descriptor that is being read from cannot be opened a second time.
  own.readStop();
  const error = pipe.open(own.fd);
  own.readStart();
  if (error !== 0) return false;
  const write = pipe.writeUtf8String;
  pipe.writeUtf8String = (request, chunk) => write.call(pipe, request, chunk, given.shift());
  // A write that fails closes the handle, and with it whatever has the number of the descriptor by then.
  pipe.close = (closed) => closed && process.nextTick(closed);
  const writer = new Socket({ handle: pipe, readable: false, writable: true, manualStart: true } as object);
  // The other end is gone: the socket itself says so.
  writer.on('error', () => undefined);
  const texts = parts.map(({ text }) => text);
  // One after the other: those that wait would be written at once, without a descriptor.
  const next = () => {
    const text = texts.shift();
    if (text !== undefined) writer.write(text, next);
  };
  next();
  return true;
}

function handleOf(socket: Socket): PipeHandle | undefined {
  return (socket as unknown as { _handle: PipeHandle | null })._handle ?? undefined;
}

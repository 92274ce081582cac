import { constants } from 'node:os';
import type { WebSocket } from 'ws';
import type { ClientMessage, RunMessage, ServerMessage } from '../../api/run-session.ts';
import { AppError } from '../../errors/app-error.ts';
import { localTerminal, rawTerminal, terminalSize } from './local-terminal.ts';

/** Bytes of input that may wait for the command: see docs/api.md. */
const window = 256 * 1024;
/** First byte of a message with output on standard error. */
const errorByte = 2;
/** Time without any message after which the connection is lost, in ms. The server sends a ping every 20 s. */
const silence = 60_000;

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/**
 * Runs a command on the server with the terminal, or the input and output, of this process.
 * @returns the end of the command; `status` is 128 and the number of the signal if a signal has ended this process
 * @throws AppError of the server; `interrupted` if the connection is lost
 */
export async function runAttached(
  socket: WebSocket,
  command: Pick<RunMessage['run'], 'command' | 'console'>,
): Promise<{ status: number; shortage: 'memory' | 'processes' | null }> {
  const terminal = localTerminal();
  using ending = new DisposableStack();
  const {
    promise: ended,
    resolve: end,
    reject: fail,
  } = Promise.withResolvers<{ status: number; shortage: 'memory' | 'processes' | null }>();
  const send = (message: RunMessage | ClientMessage) => socket.send(JSON.stringify(message));

  const lost = new AppError(
    'interrupted',
    'the connection to the server was lost, and the command was ended',
    {
      hint: 'A command that must outlive its connection needs --detach.',
    },
  );
  socket.on('close', () => fail(lost)).on('error', () => fail(lost));
  const watchdog = setTimeout(() => socket.terminate(), silence);
  ending.defer(() => clearTimeout(watchdog));
  socket.on('ping', () => watchdog.refresh()).on('message', () => watchdog.refresh());

  let untaken = 0;
  const startInput = () => {
    const { stdin } = process;
    stdin.on('data', (chunk: Buffer) => {
      untaken += chunk.length;
      if (untaken >= window) stdin.pause();
      socket.send(chunk);
    });
    stdin.on('end', () => send({ end: true }));
    // Input that cannot be read, such as a directory, is none.
    stdin.on('error', () => send({ end: true }));
  };

  let written: Promise<unknown> = Promise.resolve();
  const output = (data: Buffer) => {
    const target = data[0] === errorByte ? process.stderr : process.stdout;
    const text = data.subarray(1);
    const { promise, resolve } = Promise.withResolvers<void>();
    target.write(text, () => resolve());
    written = Promise.all([written, promise]).then(() => {
      if (socket.readyState === socket.OPEN) send({ taken: text.length });
    });
  };

  const early: NodeJS.Signals[] = [];
  let isStarted = false;
  const signalled = (name: (typeof signals)[number]) => {
    // The terminal sends keys; a signal from elsewhere is about this process.
    if (terminal !== undefined) end({ status: 128 + constants.signals[name], shortage: null });
    else if (isStarted) send({ signal: name });
    else early.push(name);
  };
  for (const name of signals) process.on(name, signalled);
  ending.defer(() => {
    for (const name of signals) process.off(name, signalled);
  });

  socket.on('message', (data: Buffer, isBinary) => {
    if (isBinary) return output(data);
    const message = JSON.parse(data.toString()) as ServerMessage;
    if ('started' in message) {
      isStarted = true;
      for (const name of early) signalled(name as (typeof signals)[number]);
      // The command has the size at the time of the request.
      if (terminal !== undefined) send({ resize: terminalSize() });
      startInput();
    } else if ('taken' in message) {
      untaken -= message.taken;
      if (untaken < window) process.stdin.resume();
    } else if ('error' in message) fail(AppError.from(message.error));
    else end(message.exit);
  });

  if (terminal !== undefined) {
    ending.use(await rawTerminal());
    const resized = () => send({ resize: terminalSize() });
    process.stdout.on('resize', resized);
    ending.defer(() => process.stdout.off('resize', resized));
  }
  send({ run: { ...command, ...(terminal && { terminal }) } });
  try {
    const { status, shortage } = await ended;
    await written;
    return { status, shortage };
  } finally {
    process.stdin.destroy();
    socket.removeAllListeners('close').close();
  }
}

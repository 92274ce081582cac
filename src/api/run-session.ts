import * as v from 'valibot';
import type { WebSocket } from 'ws';
import type { OneOffHandle, OneOffReader, OneOffRequest } from '../deploy/one-off.ts';
import { AppError, errorBody } from '../errors/app-error.ts';
import type { OneOffEnd } from '../service/one-offs.ts';

/** Bytes that each side may send before the other side has taken them. */
export const runWindow = 256 * 1024;

/** Bytes of input that may wait for a command: one message more than a client sends before it waits. */
const mostWaiting = 2 * runWindow;
/** Bytes that may wait until a client reads them: more than output, which waits earlier. */
const mostUnread = 4 * runWindow;

/** Messages that one call to the command may make superfluous: the resizes of a long drag of a window, and not a flood. */
const mostReplaced = 10_000;

/**
 * Calls about one subject that may be without an answer. While output of the command waits for the client, answers wait, too: each
 * signal must reach the command, but only the newest size.
 */
const mostUnanswered = { resize: 1, signal: 8 };

/** Interval of pings, in ms. A client that does not answer one before the next is gone. */
const pingEvery = 20_000;

/** Time for the first message to arrive, in ms. */
const firstWithin = 10_000;
/** Time for a client to close its side of the connection, in ms. */
const closeWithin = 1000;

const text = v.pipe(
  v.string(),
  v.maxLength(64 * 1024),
  v.check((value) => !value.includes('\0'), 'text without NUL'),
);
const size = {
  rows: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(9999)),
  columns: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(9999)),
};

/** Command of a request: `command` is text for a shell, or a program and its arguments. */
export const commandFields = {
  command: v.optional(
    v.union([v.pipe(text, v.nonEmpty()), v.pipe(v.array(text), v.minLength(1), v.maxLength(1000))]),
  ),
  console: v.optional(v.picklist(['node', 'shell'])),
};

const runMessage = v.strictObject({
  run: v.strictObject({
    ...commandFields,
    terminal: v.optional(v.strictObject({ ...size, type: v.pipe(v.string(), v.regex(/^[\w.+-]{1,64}$/)) })),
  }),
});

const clientMessage = v.union([
  v.strictObject({ end: v.literal(true) }),
  v.strictObject({ resize: v.strictObject(size) }),
  v.strictObject({ signal: v.picklist(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) }),
  v.strictObject({ taken: v.pipe(v.number(), v.integer(), v.minValue(1)) }),
]);

/** First message of a client: the command to run. */
export type RunMessage = v.InferOutput<typeof runMessage>;
/** Further message of a client. */
export type ClientMessage = v.InferOutput<typeof clientMessage>;
/** Message of the server, as text. Output is binary: a byte for the stream, and the bytes of the output. */
export type ServerMessage =
  | { started: { id: string; release: number } }
  | { taken: number }
  | { exit: OneOffEnd }
  | { error: ReturnType<typeof errorBody> };

/** First byte of a message with output. */
export const streamBytes = { stdout: 1, stderr: 2 } as const;

/** Returns the command of a request. @throws AppError `bad_request` */
export function commandOf({
  command,
  console,
}: {
  command?: string | string[] | undefined;
  console?: 'node' | 'shell' | undefined;
}): OneOffRequest['run'] {
  if (command === undefined && console !== undefined) return { console };
  if (typeof command === 'string' && console === undefined) return { shell: command };
  if (Array.isArray(command) && console === undefined) return { argv: command as [string, ...string[]] };
  throw new AppError('bad_request', 'a request needs either "command" or "console"');
}

/**
 * Serves one command on a WebSocket, to its end or until the client is gone. Neither side sends more than `runWindow` bytes that the
 * other side has not reported as taken, so a slow side makes the other one wait, and pings are always answered.
 * @param run runs the command; its signal ends the command
 */
export async function serveRun(
  socket: WebSocket,
  run: (request: OneOffRequest, reader: OneOffReader, signal: AbortSignal) => Promise<OneOffEnd>,
): Promise<void> {
  const gone = new AbortController();
  const leave = (reason: AppError) => gone.abort(reason);
  const lost = new AppError('cancelled', 'the client hung up');
  socket.on('close', () => leave(lost));
  // A close follows.
  socket.on('error', () => undefined);
  using _alive = watch(socket);
  const send = (message: ServerMessage) => socket.send(JSON.stringify(message));
  try {
    const { first, session } = await firstMessage(socket, () => new Session(socket, leave), gone.signal);
    const { run: asked } = parse(runMessage, first);
    const terminal = asked.terminal ?? null;
    const end = await run({ run: commandOf(asked), terminal, detached: false }, session, gone.signal);
    send({ exit: end });
  } catch (error) {
    if (socket.readyState === socket.OPEN) send({ error: errorBody(error) });
    if (!(error instanceof AppError)) throw error;
  } finally {
    socket.close();
    const late = setTimeout(() => socket.terminate(), closeWithin);
    if (socket.readyState === socket.CLOSED) clearTimeout(late);
    else socket.once('close', () => clearTimeout(late));
  }
}

/** Connects the messages of a client with its command. */
class Session implements OneOffReader {
  readonly #socket: WebSocket;
  #handle: OneOffHandle | undefined;
  /** bytes of output that the client has not taken */
  #untaken = 0;
  /** bytes of input that the command has not taken */
  #waiting = 0;
  /** input for the next call: one call at a time, so that many small messages take no more memory than a large one */
  readonly #queue = Buffer.allocUnsafeSlow(mostWaiting);
  #queued = 0;
  #isPassing = false;
  #hasEnded = false;
  /** calls that wait for the start of the command, or for an answer to a call before them, by subject */
  readonly #waitingCalls = new Map<string, (handle: OneOffHandle) => Promise<void>>();
  /** number of calls without an answer, by subject */
  readonly #unanswered = new Map<string, number>();
  /** number of calls that were replaced since the last answer */
  #replaced = 0;

  readonly #leave: (reason: AppError) => void;

  /** @param leave ends the command */
  constructor(socket: WebSocket, leave: (reason: AppError) => void) {
    this.#socket = socket;
    this.#leave = leave;
    // The answer to a ping waits for the client, too.
    socket.on('ping', () => this.#checkUnread());
    socket.on('message', (data: Buffer, isBinary) => {
      try {
        if (isBinary) this.#input(data);
        else this.#receive(parse(clientMessage, data.toString()));
      } catch (error) {
        leave(error as AppError);
      }
    });
  }

  started(handle: OneOffHandle): void {
    this.#handle = handle;
    this.#send({ started: { id: handle.id, release: handle.release } });
    for (const subject of [...this.#waitingCalls.keys()]) void this.#callNext(subject, handle);
    if (this.#hasEnded) handle.endInput();
  }

  output(stream: 'stdout' | 'stderr', data: Buffer): void {
    this.#untaken += data.length;
    const message = Buffer.concat([Buffer.of(streamBytes[stream]), data]);
    this.#socket.send(message, () => this.#continue());
    if (this.#isFull) this.#handle?.pause();
  }

  /** True if the command must wait with its output. A client may report output as taken that it has not read. */
  get #isFull(): boolean {
    return this.#untaken > runWindow || this.#socket.bufferedAmount > runWindow;
  }

  #continue(): void {
    if (!this.#isFull) this.#handle?.resume();
  }

  #send(message: ServerMessage): void {
    this.#socket.send(JSON.stringify(message));
    this.#checkUnread();
  }

  /** Ends the session of a client that sends messages without an end, and does not read the answers. */
  #checkUnread(): void {
    if (this.#socket.bufferedAmount <= mostUnread) return;
    this.#leave(new AppError('bad_request', 'the client does not read the answers of the server'));
    this.#socket.terminate();
  }

  #input(data: Buffer): void {
    const handle = this.#handle;
    if (handle === undefined) throw new AppError('bad_request', 'input came before the start of the command');
    if (this.#waiting + data.length > mostWaiting)
      throw new AppError('bad_request', `more than ${runWindow} bytes of input wait for the command`);
    this.#waiting += data.length;
    this.#queued += data.copy(this.#queue, this.#queued);
    if (!this.#isPassing) void this.#pass(handle);
  }

  /** Passes all input on, and then its end. */
  async #pass(handle: OneOffHandle): Promise<void> {
    this.#isPassing = true;
    while (this.#queued > 0) {
      const data = Buffer.from(this.#queue.subarray(0, this.#queued));
      this.#queued = 0;
      await handle.write(data);
      this.#waiting -= data.length;
      if (this.#socket.readyState === this.#socket.OPEN) this.#send({ taken: data.length });
    }
    this.#isPassing = false;
    if (this.#hasEnded) handle.endInput();
  }

  #receive(message: ClientMessage): void {
    if ('taken' in message) {
      if (message.taken > this.#untaken) throw new AppError('bad_request', 'more output was taken than sent');
      this.#untaken -= message.taken;
      this.#continue();
    } else if ('end' in message) this.#endInput();
    else if ('resize' in message) this.#call('resize', (handle) => handle.resize(message.resize));
    else this.#call(message.signal, (handle) => handle.signal(message.signal));
  }

  #endInput(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (!this.#isPassing) this.#handle?.endInput();
  }

  /**
   * Makes a call about the command when the command has started and few calls about the subject are without an answer. A newer call
   * replaces one that waits, because a client may send any number of messages and the answers may take any time.
   */
  #call(subject: string, call: (handle: OneOffHandle) => Promise<void>): void {
    if (this.#waitingCalls.has(subject)) this.#replaced += 1;
    if (this.#replaced > mostReplaced)
      throw new AppError('bad_request', `more than ${mostReplaced} messages wait for the command`);
    this.#waitingCalls.set(subject, call);
    if (this.#handle !== undefined) void this.#callNext(subject, this.#handle);
  }

  async #callNext(subject: string, handle: OneOffHandle): Promise<void> {
    const unanswered = () => this.#unanswered.get(subject) ?? 0;
    if (unanswered() >= mostUnanswered[subject === 'resize' ? 'resize' : 'signal']) return;
    const call = this.#take(subject);
    if (call === undefined) return;
    this.#unanswered.set(subject, unanswered() + 1);
    await call(handle);
    this.#unanswered.set(subject, unanswered() - 1);
    this.#replaced = 0;
    void this.#callNext(subject, handle);
  }

  #take(subject: string): ((handle: OneOffHandle) => Promise<void>) | undefined {
    const call = this.#waitingCalls.get(subject);
    this.#waitingCalls.delete(subject);
    return call;
  }
}

/**
 * Waits for the first message.
 * @param open starts to receive the messages after it, which may arrive together with the first
 * @throws AppError `bad_request`; the reason of `signal`
 */
function firstMessage(
  socket: WebSocket,
  open: () => Session,
  signal: AbortSignal,
): Promise<{ first: string; session: Session }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ first: string; session: Session }>();
  const timer = setTimeout(() => reject(new AppError('bad_request', 'no command came')), firstWithin);
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  socket.once('message', (data: Buffer, isBinary) => {
    if (isBinary) reject(new AppError('bad_request', 'the first message must be text'));
    else resolve({ first: data.toString(), session: open() });
  });
  return promise.finally(() => clearTimeout(timer));
}

/** Ends the connection of a client that does not answer pings, for example because its machine is off. */
function watch(socket: WebSocket): Disposable {
  let isAlive = true;
  const timer = setInterval(() => {
    if (!isAlive) socket.terminate();
    isAlive = false;
    socket.ping();
  }, pingEvery);
  const note = () => {
    isAlive = true;
  };
  socket.on('pong', note).on('message', note);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** @throws AppError `bad_request` */
function parse<Schema extends v.GenericSchema>(schema: Schema, message: string): v.InferOutput<Schema> {
  const fault = () =>
    new AppError('bad_request', 'invalid message', { hint: 'See docs/api.md for the messages.' });
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    throw fault();
  }
  const result = v.safeParse(schema, value);
  if (!result.success) throw fault();
  return result.output;
}

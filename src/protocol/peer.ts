import type { Socket } from 'node:net';
import { AppError, errorBody } from '../errors/app-error.ts';
import { LineSplitter } from '../system/text/lines.ts';

/** Calls that one side offers: parameters, result, and messages during a call. */
type Calls<Table> = { [Name in keyof Table]: { params: unknown; result: unknown; progress: unknown } };

export interface CallContext<Progress> {
  /** @returns false if the caller reads slowly: wait for `drained` before the next report */
  report(progress: Progress): boolean;
  drained(): Promise<void>;
  /** aborted when the caller gives up or hangs up */
  signal: AbortSignal;
}

export type Handlers<Table extends Calls<Table>> = {
  [Name in keyof Table]: (
    params: Table[Name]['params'],
    context: CallContext<Table[Name]['progress']>,
  ) => Promise<Table[Name]['result']>;
};

type Message =
  | { id: number; call: string; params: unknown }
  | { id: number; progress: unknown }
  | { id: number; result: unknown }
  | { id: number; error: unknown }
  | { id: number; abort: true };

/** Answers calls on a socket, one JSON message per line, until the socket closes. */
export function serveCalls<Table extends Calls<Table>>(socket: Socket, handlers: Handlers<Table>): void {
  const underWay = new Map<number, AbortController>();
  const send = (message: Message) => !socket.writable || socket.write(`${JSON.stringify(message)}\n`);
  const answer = async (id: number, name: string, params: unknown) => {
    const controller = new AbortController();
    underWay.set(id, controller);
    try {
      if (!Object.hasOwn(handlers, name)) throw new AppError('protocol_mismatch', `unknown call ${name}`);
      const result = await handlers[name as keyof Table](params as never, {
        report: (progress) => send({ id, progress }),
        drained: () => drained(socket),
        signal: controller.signal,
      });
      // JSON has no undefined.
      send({ id, result: result ?? null });
    } catch (error) {
      send({ id, error: describe(error) });
    } finally {
      underWay.delete(id);
    }
  };
  onLines(socket, (line) => {
    const message = parse(line);
    if (message === undefined) return void socket.destroy();
    if ('call' in message) void answer(message.id, message.call, message.params);
    else if ('abort' in message) underWay.get(message.id)?.abort();
  });
  socket.on('close', () => {
    for (const controller of underWay.values()) controller.abort();
  });
}

/** Parses a message; undefined if the line has none. Throws nothing: the parser's error would quote secrets in the line. */
function parse(line: string): Message | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null ? (message as Message) : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the JSON of an error. An internal error keeps its message and stack, for the log of the caller. */
function describe(error: unknown): unknown {
  const body = errorBody(error);
  if (body.code !== 'internal') return body;
  return { ...body, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** Returns the error of a JSON body. An internal error becomes a plain `Error`, so that clients do not get its message. */
function revive(body: unknown): Error {
  const error = AppError.from(body);
  return error.code === 'internal' ? new Error(error.message) : error;
}

export interface CallOptions<Progress> {
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal | undefined;
}

/** Calling side of a connection. */
export class CallClient<Table extends Calls<Table>> {
  readonly #socket: Socket;
  readonly #lost: () => AppError;
  readonly #pending = new Map<
    number,
    {
      resolve: (result: never) => void;
      reject: (error: Error) => void;
      onProgress?: ((progress: never) => void) | undefined;
    }
  >();
  readonly closed: Promise<void>;
  #nextId = 1;

  constructor(socket: Socket, lost: () => AppError) {
    this.#socket = socket;
    this.#lost = lost;
    onLines(socket, (line) => {
      const message = parse(line);
      if (message === undefined) socket.destroy();
      else this.#receive(message);
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        for (const { reject } of this.#pending.values()) reject(lost());
        this.#pending.clear();
        resolve();
      });
    });
  }

  /** @throws AppError the error of the other side, or an error that the connection is lost */
  async call<Name extends keyof Table & string>(
    name: Name,
    params: Table[Name]['params'],
    { onProgress, signal }: CallOptions<Table[Name]['progress']> = {},
  ): Promise<Table[Name]['result']> {
    if (this.#socket.destroyed) {
      // The owner of the connection sees its end first: otherwise a second attempt would get the same connection.
      await this.closed;
      throw this.#lost();
    }
    const id = this.#nextId++;
    const abort = () => this.#send({ id, abort: true });
    const answer = new Promise<Table[Name]['result']>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onProgress });
    });
    this.#send({ id, call: name, params });
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await answer;
    } finally {
      this.#pending.delete(id);
      signal?.removeEventListener('abort', abort);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(message: Message): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #receive(message: Message): void {
    const call = this.#pending.get(message.id);
    if (call === undefined) return;
    if ('progress' in message) call.onProgress?.(message.progress as never);
    else if ('result' in message) call.resolve(message.result as never);
    else if ('error' in message) call.reject(revive(message.error));
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (!socket.writableNeedDrain) return resolve();
    const done = () => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

/** Calls `receive` with each line of a stream. */
function onLines(socket: Socket, receive: (line: string) => void): void {
  const splitter = new LineSplitter();
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    for (const line of splitter.push(text)) receive(line);
  });
  // The 'close' event follows, and is handled.
  socket.on('error', () => undefined);
}

import type { Socket } from 'node:net';
import { AppError, errorBody } from '../errors/app-error.ts';

/** The calls one side offers: parameters, result, and reports while a call is under way. */
type Calls<Table> = { [Name in keyof Table]: { params: unknown; result: unknown; progress: unknown } };

export interface CallContext<Progress> {
  /** @returns false where the caller does not keep up: wait for `drained` before reporting more */
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

/** Answers calls that come in on `socket`, one JSON message a line, until it closes. */
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
      send({ id, result });
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

/** An internal error keeps its own words here: both ends are ours, and the log of the caller needs them. */
function describe(error: unknown): unknown {
  const body = errorBody(error);
  if (body.code !== 'internal') return body;
  return { ...body, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** The inverse. An internal error is for the log of this side too: whoever is answered does not see its words. */
function revive(body: unknown): Error {
  const error = AppError.from(body);
  return error.code === 'internal' ? new Error(error.message) : error;
}

export interface CallOptions<Progress> {
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal | undefined;
}

/** The calling side of a connection. */
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

  /** @throws AppError what the other side threw, or that the connection is lost */
  async call<Name extends keyof Table & string>(
    name: Name,
    params: Table[Name]['params'],
    { onProgress, signal }: CallOptions<Table[Name]['progress']> = {},
  ): Promise<Table[Name]['result']> {
    if (this.#socket.destroyed) {
      // Whoever keeps the connection up hears of its end before we say so: else a second try comes back here.
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

/** Not by node:readline: it also ends a line at U+2028 and U+2029, which JSON leaves as they are in a text. */
function onLines(socket: Socket, receive: (line: string) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    const lines = text.split('\n');
    lines[0] = rest + lines[0];
    rest = lines.pop() ?? '';
    for (const line of lines) receive(line);
  });
  // A reset by the other side ends the connection as its close does; 'close' follows and is what we act on.
  socket.on('error', () => undefined);
}

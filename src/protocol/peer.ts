import { addAbortListener } from 'node:events';
import type { Socket } from 'node:net';
import { AppError, errorBody } from '../errors/app-error.ts';
import { WaitQueue } from '../system/concurrency/slots.ts';
import { LineSplitter, parseObject } from '../system/text/lines.ts';

/** Calls that one side offers: parameters, result, and messages during a call. */
type Calls<Table> = { [Name in keyof Table]: { params: unknown; result: unknown; progress: unknown } };

export interface CallContext<Progress> {
  /** Sends a message. Fulfilled when the caller can take the next one: it may read slowly. */
  report(progress: Progress): Promise<void>;
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

/** Answers that may wait until the caller reads them: more than a caller that awaits its calls ever has. */
const mostUnread = 1000;

/** Limit of a message, in characters: the variables of an app have a few megabytes at most. */
const longest = 64 * 1024 ** 2;

/**
 * Answers calls on a socket, one JSON message per line, until the socket closes. While a caller does not read the answers, its further
 * calls wait in the kernel.
 */
export function serveCalls<Table extends Calls<Table>>(socket: Socket, handlers: Handlers<Table>): void {
  const underWay = new Map<number, AbortController>();
  const drained = new WaitQueue();
  const send = async (message: Message) => {
    if (socket.writable && !socket.write(`${JSON.stringify(message)}\n`)) await drained.wait();
  };
  let unread = 0;
  const finish = (message: Message) => {
    if (!socket.writable) return;
    unread += 1;
    if (unread === mostUnread) socket.pause();
    socket.write(`${JSON.stringify(message)}\n`, () => {
      if (unread === mostUnread) socket.resume();
      unread -= 1;
    });
  };
  const answer = async (id: number, name: string, params: unknown) => {
    const controller = new AbortController();
    underWay.set(id, controller);
    try {
      if (!Object.hasOwn(handlers, name)) throw new AppError('protocol_mismatch', `unknown call ${name}`);
      const result = await handlers[name as keyof Table](params as never, {
        report: (progress) => send({ id, progress }),
        signal: controller.signal,
      });
      // JSON has no undefined.
      finish({ id, result: result ?? null });
    } catch (error) {
      finish({ id, error: describe(error) });
    } finally {
      underWay.delete(id);
    }
  };
  onMessages(socket, (message) => {
    if ('call' in message) void answer(message.id, message.call, message.params);
    else if ('abort' in message) underWay.get(message.id)?.abort();
  });
  socket.on('drain', () => drained.releaseAll());
  socket.on('close', () => {
    drained.releaseAll();
    for (const controller of underWay.values()) controller.abort();
  });
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
    { answer: PromiseWithResolvers<unknown>; onProgress: ((progress: never) => void) | undefined }
  >();
  readonly closed: Promise<void>;
  #nextId = 1;

  constructor(socket: Socket, lost: () => AppError) {
    this.#socket = socket;
    this.#lost = lost;
    onMessages(socket, (message) => this.#receive(message));
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        for (const { answer } of this.#pending.values()) answer.reject(lost());
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
    const answer = Promise.withResolvers<unknown>();
    this.#pending.set(id, { answer, onProgress });
    this.#send({ id, call: name, params });
    using _ = signal && addAbortListener(signal, () => this.#send({ id, abort: true }));
    try {
      return await answer.promise;
    } finally {
      this.#pending.delete(id);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Reads nothing until `resume`, so that the other side waits. For a connection that serves one call. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #send(message: Message): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  #receive(message: Message): void {
    const call = this.#pending.get(message.id);
    if (call === undefined) return;
    if ('progress' in message) call.onProgress?.(message.progress as never);
    else if ('result' in message) call.answer.resolve(message.result);
    else if ('error' in message) call.answer.reject(revive(message.error));
  }
}

/** Calls `receive` with each message on a socket. Anything else closes the socket. */
function onMessages(socket: Socket, receive: (message: Message) => void): void {
  const splitter = new LineSplitter();
  socket.setEncoding('utf8');
  socket.on('data', (text: string) => {
    for (const line of splitter.push(text)) {
      const message = parseObject<Message>(line);
      if (message === undefined) socket.destroy();
      else receive(message);
    }
    if (splitter.restLength > longest) socket.destroy();
  });
  // The 'close' event follows, and is handled.
  socket.on('error', () => undefined);
}

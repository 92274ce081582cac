import type { Duplex } from 'node:stream';
import type { AppProtocol, FromWorker, ToWorker } from '../../protocol/worker.ts';
import { LineSplitter, parseObject } from '../../system/text/lines.ts';
import type { Allowance } from '../allowance.ts';

interface ChannelOptions {
  /** shared by all workers of the app */
  allowance: Allowance;
  message(message: FromWorker): void;
  /** called once if the app itself has written into the channel */
  refused(): void;
}

/**
 * Runner's end of the socket between runner and worker; src/worker/channel.cjs is the other end. The app may write anything
 * into the socket, and anything but a message ends the channel. The kernel drops descriptors that are sent along, because the
 * socket is not an IPC channel. Messages wait in the kernel if an app sends more than its allowance, or if the worker does not
 * read the runner's messages.
 */
export class WorkerChannel {
  readonly #socket: Duplex;
  readonly #options: ChannelOptions;
  readonly #messages = new WorkerMessages();
  #rest: NodeJS.Timeout | undefined;

  constructor(socket: Duplex, options: ChannelOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('drain', () => this.#readOn());
    socket.on('close', () => clearTimeout(this.#rest));
    // The worker is dying. Its exit follows, and the exit is handled.
    socket.on('error', () => undefined);
  }

  post(message: ToWorker): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(message)}\n`);
    if (this.#socket.writableNeedDrain) this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    const wait = this.#options.allowance.take(chunk.length, performance.now());
    for (const message of this.#messages.push(chunk)) {
      // A message may have closed the channel.
      if (this.#socket.destroyed) return;
      if (message === undefined) {
        this.close();
        this.#options.refused();
        return;
      }
      this.#options.message(message);
    }
    if (wait === 0) return;
    this.#socket.pause();
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#readOn();
    }, wait);
  }

  #readOn(): void {
    if (this.#rest === undefined && !this.#socket.writableNeedDrain) this.#socket.resume();
  }
}

/** Limit of a message, in bytes. All messages of the bootstrap are shorter. */
const longest = 1024;

const protocols: readonly AppProtocol[] = ['http', 'https', 'http2', 'http2s', 'tcp', 'tls'];

/** Splits the bytes of a worker into messages. Checks and copies each field, and buffers at most `longest` bytes. */
export class WorkerMessages {
  readonly #splitter = new LineSplitter();

  /** Returns `undefined` for bytes that the bootstrap of a worker never sends; later bytes must be ignored then. */
  *push(chunk: Buffer): Generator<FromWorker | undefined> {
    // Messages are ASCII, and latin1 changes no byte.
    for (const line of this.#splitter.push(chunk.toString('latin1'))) yield messageOf(line);
    if (this.#splitter.restLength > longest) yield undefined;
  }
}

type Check = (value: unknown) => boolean;

const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isPort: Check = (value) => isCount(value) && value !== 0 && (value as number) <= 65535;
/** Checks the method or path of a request. Only printable characters pass, because the text goes into a log line. */
const isText: Check = (value) => typeof value === 'string' && /^[!-~]*$/.test(value);

/** Checks a text of an app that people will read. @param length in characters */
const isPrintable = (length: number): Check => {
  return (value) => typeof value === 'string' && value.length <= length && !/\p{Cc}/u.test(value);
};

/** Fields of each message, with a function that checks the field. */
const fields: Record<FromWorker['type'], Record<string, Check>> = {
  ready: {
    port: isPort,
    protocol: (value) => protocols.includes(value as AppProtocol),
    listens: isCount,
    onlyInterrupt: (value) => typeof value === 'boolean',
  },
  request: { method: isText, path: isText },
  inFlight: { requests: isCount, connections: isCount },
  responses: { total: isCount, errors: isCount },
  memoryExceeded: { bytes: isCount },
  beat: { eventLoopDelayMs: Number.isFinite, connections: Number.isFinite, requests: Number.isFinite },
  metric: {
    name: isPrintable(64),
    value: (value) => typeof value === 'boolean' || Number.isFinite(value) || isPrintable(64)(value),
    unit: isPrintable(16),
  },
  reported: {},
  besides: { port: isPort },
  forked: {},
  opened: {},
  retired: {},
  drained: {},
  saved: {},
};

function messageOf(line: string): FromWorker | undefined {
  const value = line.length > longest ? undefined : parseObject<Record<string, unknown>>(line);
  const type = value?.['type'];
  if (value === undefined || typeof type !== 'string' || !Object.hasOwn(fields, type)) return undefined;
  const checks = Object.entries(fields[type as FromWorker['type']]);
  if (!checks.every(([name, isValid]) => isValid(value[name]))) return undefined;
  return { type, ...Object.fromEntries(checks.map(([name]) => [name, value[name]])) } as FromWorker;
}

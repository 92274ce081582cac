import type { AppProtocol, FromWorker } from '../../protocol/worker.ts';

/** Longest message, in bytes; those of our own workers are shorter. */
const longest = 1024;

const protocols: readonly AppProtocol[] = ['http', 'https', 'http2', 'http2s', 'tcp', 'tls'];

/** Bytes that our own workers never send. */
export class NotAMessage extends Error {}

/**
 * Splits the bytes of a worker into messages. The app has the other end of the socket and may write anything into it, so each
 * message is checked field by field and copied. Holds `longest` bytes at most.
 */
export class WorkerMessages {
  #rest = '';

  /** @throws NotAMessage; later bytes must be ignored then */
  *push(chunk: Buffer): Generator<FromWorker> {
    // Our messages are ASCII, and bytes are kept as they are.
    const lines = chunk.toString('latin1').split('\n');
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? '';
    for (const line of lines) yield parse(line);
    if (this.#rest.length > longest) throw new NotAMessage();
  }
}

function parse(line: string): FromWorker {
  if (line.length > longest) throw new NotAMessage();
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new NotAMessage(undefined, { cause: error });
  }
  if (typeof value !== 'object' || value === null) throw new NotAMessage();
  return messageOf(value as Record<string, unknown>);
}

function messageOf(value: Record<string, unknown>): FromWorker {
  const { type } = value;
  switch (type) {
    case 'ready':
      return {
        type,
        port: port(value['port']),
        protocol: protocol(value['protocol']),
        listens: count(value['listens']),
        onlyInterrupt: value['onlyInterrupt'] === true,
      };
    case 'request':
      return { type, method: text(value['method']), path: text(value['path']) };
    case 'inFlight':
      return { type, requests: count(value['requests']), connections: count(value['connections']) };
    case 'memoryExceeded':
      return { type, bytes: count(value['bytes']) };
    case 'beat':
      return {
        type,
        eventLoopDelayMs: amount(value['eventLoopDelayMs']),
        connections: amount(value['connections']),
        requests: amount(value['requests']),
      };
    case 'forked':
    case 'opened':
    case 'retired':
    case 'drained':
      return { type };
    default:
      throw new NotAMessage();
  }
}

function protocol(value: unknown): AppProtocol {
  const known = protocols.find((each) => each === value);
  if (known === undefined) throw new NotAMessage();
  return known;
}

/** Checks the method or path of a request: only printable characters, so that it cannot break a log line. */
function text(value: unknown): string {
  if (typeof value !== 'string' || !/^[!-~]*$/.test(value)) throw new NotAMessage();
  return value;
}

function amount(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new NotAMessage();
  return value;
}

function count(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new NotAMessage();
  return value as number;
}

function port(value: unknown): number {
  const number = count(value);
  if (number === 0 || number > 65535) throw new NotAMessage();
  return number;
}

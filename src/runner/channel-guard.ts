import type { ChildProcess } from 'node:child_process';
import type { AppProtocol } from '../protocol/worker.ts';

/** More than any message of a worker of ours, in bytes. */
const longest = 16 * 1024;

const protocols: readonly AppProtocol[] = ['http', 'https', 'http2', 'http2s', 'tcp', 'tls'];

/** How Node.js has the pipe of its IPC channel (lib/internal/child_process.js, `setupChannel`). */
interface ChannelHandle {
  onread(this: ChannelHandle, chunk: ArrayBuffer | undefined): void;
  /** what came with this chunk, for one message in it */
  pendingHandle?: object | null | undefined;
}

/**
 * Looks at what a worker writes into the IPC channel before Node.js does. The app has the descriptor, and Node.js takes
 * what comes on it for that of a Node.js of its own: a line that is no JSON, or an acknowledgement of nothing, is thrown
 * as an exception in the one process that runs the apps of all. So nothing gets through but what our bootstrap says.
 * @param name of the command that our messages have
 * @param refuse told once why no more is read
 * @returns to be told of each handle that is sent: the worker acknowledges those, and no others
 */
export function guardChannel(child: ChildProcess, name: string, refuse: (why: string) => void): () => void {
  const handle = channelOf(child);
  if (handle === undefined) return () => undefined;
  const { onread } = handle;
  let refused = false;
  let rest = '';
  let came: object | null | undefined;
  let sent = 0;

  const isFine = (message: unknown): boolean => {
    if (!isObject(message) || typeof message['cmd'] !== 'string') return true;
    switch (message['cmd']) {
      case name:
        return isSaid(message['body']);
      case 'NODE_HANDLE': {
        const inner = message['msg'];
        const with_ = came;
        came = undefined;
        if (message['type'] !== 'net.Native' || with_?.constructor.name !== 'TCP' || !isObject(inner))
          return false;
        return inner['cmd'] === name && isConnection(inner['body']);
      }
      case 'NODE_HANDLE_ACK':
        sent -= 1;
        return sent >= 0;
      case 'NODE_HANDLE_NACK':
        return sent > 0;
      default:
        // Of the app's own; nobody listens.
        return !message['cmd'].startsWith('NODE_');
    }
  };

  handle.onread = function onreadGuarded(chunk) {
    if (refused) return;
    came = this.pendingHandle ?? came;
    if (chunk !== undefined) {
      // No character of UTF-8 contains the byte that ends a line.
      const lines = (rest + Buffer.from(chunk).toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      const fault = rest.length > longest || lines.some((line) => !isFine(parse(line)));
      if (fault) {
        refused = true;
        return refuse('wrote into the channel that is between it and Sluice');
      }
    }
    onread.call(this, chunk);
  };
  return () => {
    sent += 1;
  };
}

function channelOf(child: ChildProcess): ChannelHandle | undefined {
  const key = Object.getOwnPropertySymbols(child).find(({ description }) => description === 'kChannelHandle');
  return key === undefined ? undefined : (child as unknown as Record<symbol, ChannelHandle | undefined>)[key];
}

/** What is no JSON is a message that is never fine. */
function parse(line: string): unknown {
  try {
    return JSON.parse(Buffer.from(line, 'latin1').toString());
  } catch {
    return { cmd: 'NODE_' };
  }
}

/** What a worker says without a connection. */
function isSaid(body: unknown): boolean {
  if (!isObject(body)) return false;
  switch (body['type']) {
    case 'ready':
      return (
        isPort(body['port']) &&
        isCount(body['listens']) &&
        protocols.includes(body['protocol'] as AppProtocol)
      );
    case 'held':
      return isCount(body['connection']);
    case 'memoryExceeded':
      return isCount(body['bytes']);
    case 'beat':
      return (
        isNumber(body['eventLoopDelayMs']) && isNumber(body['connections']) && isNumber(body['requests'])
      );
    case 'opened':
    case 'retired':
    case 'drained':
      return true;
    default:
      return false;
  }
}

function isConnection(body: unknown): boolean {
  return isObject(body) && body['type'] === 'connection' && isCount(body['connection']);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isPort(value: unknown): boolean {
  return isCount(value) && (value as number) > 0 && (value as number) < 65536;
}

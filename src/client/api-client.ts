import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createConnection } from 'node:net';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { ClientOptions, WebSocket } from 'ws';
import { systemHome } from '../config/installed.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { http } from '../system/process/footprint.ts';
import { shellWord } from '../system/text/format.ts';
import { LineSplitter } from '../system/text/lines.ts';
import type { ServerAddress } from './server-address.ts';
import { cannotStart } from './server-starts.ts';

export interface CallOptions {
  query?: Record<string, string | number | boolean | undefined>;
  /** sent as JSON */
  json?: unknown;
  /** sent in chunks; stopped when the server answers with an error */
  body?: Readable;
  accept?: string;
  signal?: AbortSignal;
}

/** Largest message of a WebSocket, in bytes. */
const maxMessage = 1024 ** 2;

/** Client of the API. */
export class ApiClient {
  readonly #address: ServerAddress;

  constructor(address: ServerAddress) {
    this.#address = address;
  }

  /** Returns the parsed answer; undefined if it is empty. @throws AppError of the server; `not_running` if none answers */
  async call<Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const body = await text(await this.open(method, path, options));
    try {
      return (body === '' ? undefined : JSON.parse(body)) as Answer;
    } catch {
      // The parser's message would quote the answer, which may have the values of variables.
      throw new AppError('internal', `the answer to ${method} ${path} is not JSON`, {
        hint: 'Set SLUICE_URL to the address of Sluice itself.',
      });
    }
  }

  /** Returns the answer as a stream, when its head has arrived. @throws AppError as `call` does */
  async open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const response = await this.#send(method, path, options);
    if ((response.statusCode ?? 500) < 400) return response;
    options.body?.destroy();
    throw errorIn(await text(response), response.statusCode);
  }

  /** Returns an open WebSocket. @throws AppError as `call` does */
  async webSocket(path: string): Promise<WebSocket> {
    // Loaded here: most commands need no WebSocket.
    const { WebSocket } = await import('ws');
    const address = this.#address;
    const { url, headers } = this.#target(path);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const options: ClientOptions = {
      headers,
      perMessageDeflate: false,
      maxPayload: maxMessage,
      ...(address.kind === 'socket' && { createConnection: () => createConnection(address.path) }),
    };
    const socket = new WebSocket(url, options);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(socket));
      socket.once('error', (error) => reject(this.#unreachable(error)));
      socket.once('unexpected-response', (request, response) => {
        const answered = async () => {
          const body = await text(response);
          request.destroy();
          throw errorIn(body, response.statusCode);
        };
        answered().catch(reject);
      });
    });
  }

  /** Returns the URL and the headers of a call. */
  #target(path: string): { url: URL; headers: Record<string, string> } {
    const address = this.#address;
    const base = address.kind === 'url' ? address.url : new URL('http://localhost');
    const url = new URL(base.pathname.replace(/\/$/, '') + path, base);
    return { url, headers: address.kind === 'url' ? { Authorization: `Bearer ${address.token}` } : {} };
  }

  #send(method: string, path: string, { query = {}, json, body, accept, signal }: CallOptions) {
    const address = this.#address;
    const { url, headers: authorization } = this.#target(path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const content = json === undefined ? undefined : JSON.stringify(json);
    const headers: Record<string, string | number> = {
      Accept: accept ?? 'application/json',
      ...authorization,
    };
    if (content !== undefined) {
      headers['Content-Type'] = 'application/json';
      headers['Content-Length'] = Buffer.byteLength(content);
    }
    const send = url.protocol === 'https:' ? httpsRequest : http.request;
    return new Promise<IncomingMessage>((answered, reject) => {
      const request = send(url, {
        method,
        headers,
        ...(address.kind === 'socket' && { socketPath: address.path }),
        ...(signal && { signal }),
      });
      const over = new AbortController();
      request.on('response', (response) => {
        over.abort();
        answered(response);
      });
      request.on('error', (error) => {
        over.abort();
        reject(this.#unreachable(error));
      });
      if (address.kind === 'socket')
        cannotStart(address.path, over.signal).then((isSo) => {
          if (isSo)
            request.destroy(
              new AppError('not_running', 'Sluice is not running: the server fails at each start', {
                hint: 'As root: `journalctl --unit=sluice --lines=50` shows why. systemd tries again and again.',
              }),
            );
        }, reject);
      if (body === undefined) {
        request.end(content);
        return;
      }
      body.on('error', (error) => {
        request.destroy();
        reject(error);
      });
      body.pipe(request);
    });
  }

  #unreachable(cause: Error): Error {
    const address = this.#address;
    if (cause instanceof AppError) return cause;
    // Without a password in the URL.
    const where = address.kind === 'socket' ? address.path : address.url.origin + address.url.pathname;
    switch (systemCode(cause)) {
      case 'ABORT_ERR':
        return cause;
      case 'EACCES':
        return new AppError('forbidden', `the socket ${where} belongs to another user`, {
          cause,
          hint: 'Try again with sudo, or set SLUICE_URL and SLUICE_TOKEN.',
        });
      case 'ECONNREFUSED':
      case 'ENOENT': {
        const remote = 'Check SLUICE_URL, and check that the server runs.';
        const hint = address.kind === 'socket' ? howToStart(address.home) : remote;
        return notRunning(where, hint, cause);
      }
      default:
        return new AppError('not_running', `the connection to ${where} failed: ${cause.message}`, { cause });
    }
  }
}

function notRunning(where: string, hint: string, cause?: Error): AppError {
  return new AppError('not_running', `Sluice is not running: nothing answers at ${where}`, { cause, hint });
}

/** Names home and program in full: `sluice up` in another directory would start a second, empty Sluice. */
function howToStart(home: string): string {
  if (home === systemHome)
    return 'Start it with: systemctl start sluice.socket sluice; `systemctl status sluice sluice-runner` shows why it stopped.';
  const binary = resolve(import.meta.dirname, '../../bin/sluice');
  return `Its state would be in ${home}. Start it with: SLUICE_HOME=${shellWord(home)} ${shellWord(binary)} up
If it runs elsewhere, set SLUICE_HOME, or SLUICE_URL and SLUICE_TOKEN.`;
}

/** Returns the error in an answer: JSON of the server, or any text of a proxy. */
function errorIn(body: string, status = 0): AppError {
  try {
    return AppError.from(JSON.parse(body).error);
  } catch {
    return new AppError('internal', `the server answered ${status}: ${body.slice(0, 500).trim()}`);
  }
}

/**
 * Yields the lines of an answer; drops a last line without end, which was broken off. node:readline would also end a line at
 * U+2028 and U+2029, which JSON does not escape.
 */
export async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  const splitter = new LineSplitter();
  for await (const text of answer.setEncoding('utf8')) yield* splitter.push(text);
}

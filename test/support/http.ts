import { Agent, get, type IncomingMessage, type RequestOptions } from 'node:http';

interface Answer {
  status: number;
  body: string;
  headers: IncomingMessage['headers'];
}

/** One GET on the loopback, on a connection of its own unless an agent is given. */
export function fetchText(port: number, path = '/', options: RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, agent: false, ...options }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body, headers: response.headers }),
      );
      response.on('error', reject);
    }).on('error', reject);
  });
}

/**
 * As `fetch`, on a connection of its own: one that is kept may be closed in the very moment of its next use. A promise of
 * the product that it must not be is held by tests with clients of their own.
 */
export function fetchOnce(url: string, init: RequestInit = {}): Promise<Response> {
  return fetch(url, {
    ...init,
    headers: { ...(init.headers as Record<string, string>), connection: 'close' },
  });
}

/** An agent that keeps one connection, and the local port of it: the same port means the same connection. */
export function keepAliveAgent(): Agent {
  return new Agent({ keepAlive: true, maxSockets: 1 });
}

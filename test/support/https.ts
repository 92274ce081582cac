import type { IncomingHttpHeaders } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';

interface SecureAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** One request for a host name to an nginx on the loopback, whose certificate may be anybody's. */
export function askHost(
  port: number,
  name: string,
  path = '/',
  options: RequestOptions & { body?: string } = {},
) {
  const { body: sent, ...more } = options;
  return new Promise<SecureAnswer>((resolve, reject) => {
    const asked = request(
      {
        ...{ host: '127.0.0.1', port, path, servername: name, rejectUnauthorized: false, agent: false },
        ...more,
        headers: { host: name, ...(more.headers as Record<string, string>) },
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      },
    );
    asked.on('error', reject);
    asked.end(sent);
  });
}

/** A TLS connection to a host, once the handshake is over. */
export function secureConnection(port: number, name: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: name, rejectUnauthorized: false }, () =>
      resolve(socket),
    );
    socket.once('error', reject);
  });
}

import type { Socket } from 'node:net';
import type { HealthSettings } from '../../config/app-settings.ts';
import type { AppProtocol } from '../../protocol/worker.ts';
import { AttendedDeadline } from '../../system/concurrency/deadline.ts';
import { http } from '../../system/process/footprint.ts';

/** Limit of a body that is searched for the expected text, in bytes. */
const maxBody = 1024 * 1024;

/** Limit of the beginning of a body that an error quotes, in bytes. */
const maxQuoted = 2048;

/** Time after which a `node:net` or `node:tls` server that has sent nothing counts as one that does not speak HTTP, in ms. */
const longestSilence = 1000;

export interface CheckedWorker {
  protocol: AppProtocol;
  /** private loopback port of the worker */
  port: number;
}

export interface Health {
  /** a clause such as `answered 500 to GET /`; undefined if the worker is healthy */
  fault: string | undefined;
  /** beginning of the body of an answer with a fault, as bytes (latin1); undefined if there is none */
  body?: string;
  /** protocol of the worker; `http` or `https` for a `node:net` or `node:tls` server that answers in HTTP */
  protocol: AppProtocol;
}

/**
 * Checks the health of one worker once.
 * @param silence see `longestSilence`
 * @throws the reason of `signal`
 */
export async function checkHealth(
  worker: CheckedWorker,
  health: HealthSettings,
  signal: AbortSignal,
  silence = longestSilence,
): Promise<Health> {
  const { protocol } = worker;
  using deadline = new AttendedDeadline(health.timeout);
  const bounded = AbortSignal.any([signal, deadline.signal]);
  try {
    if (protocol === 'tcp' || protocol === 'tls') return await checkStream(worker, health, bounded, silence);
    const isHttp2 = protocol === 'http2' || protocol === 'http2s';
    const answer = await (isHttp2 ? askHttp2 : ask)(worker, health, bounded);
    return { protocol, ...judge(answer, health) };
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const fault = bounded.aborted
      ? `did not answer GET ${health.path} within ${health.timeout} ms`
      : `could not be asked for ${health.path}: ${(error as Error).message}`;
    return { protocol, fault };
  }
}

interface Answer {
  status: number;
  body: Buffer;
}

function judge({ status, body }: Answer, health: HealthSettings): Omit<Health, 'protocol'> {
  const fault = faultOf(status, body, health);
  const quoted = fault === undefined ? '' : body.toString('latin1', 0, maxQuoted);
  return quoted === '' ? { fault } : { fault, body: quoted };
}

function faultOf(status: number, body: Buffer, health: HealthSettings): string | undefined {
  if (!isExpected(status, health)) return `answered ${status} to GET ${health.path}`;
  if (health.body !== undefined && !body.toString('utf8').includes(health.body)) {
    return `answered GET ${health.path} without the text ${JSON.stringify(health.body)}`;
  }
  return undefined;
}

function isExpected(status: number, { status: ranges }: HealthSettings): boolean {
  return ranges.some((range) => includes(range, status));
}

function includes(range: string, status: number): boolean {
  const [from = 0, to = from] = range.split('-').map(Number);
  return status >= from && status <= to;
}

/**
 * Reads a body if the settings expect a text, or the beginning of a body that an error will quote. Reads no other body: an
 * endless one must not delay the check. Returns what has arrived if the connection ends early, or the time is over.
 */
async function readBody(
  stream: AsyncIterable<Buffer>,
  status: number,
  health: HealthSettings,
): Promise<Buffer> {
  const limit = !isExpected(status, health) ? maxQuoted : health.body !== undefined ? maxBody : 0;
  if (limit === 0) return Buffer.alloc(0);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of stream) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > limit) break;
    }
  } catch (error) {
    // The status is a fault already; the body only explains it.
    if (limit !== maxQuoted) throw error;
  }
  return Buffer.concat(chunks);
}

/**
 * Checks a `node:net` or `node:tls` server. It may speak HTTP, for example if it passes its connections on to an http server, so
 * it gets the same request as an http server. Otherwise it is healthy if it accepts a connection. If the settings expect a
 * certain answer, the server must give that answer.
 */
async function checkStream(
  { protocol, port }: CheckedWorker,
  health: HealthSettings,
  signal: AbortSignal,
  silence: number,
): Promise<Health> {
  const asHttp = { port, protocol: protocol === 'tls' ? 'https' : 'http' } as const;
  const mayBeSilent = isDefault(health);
  let mustAnswer = true;
  const connected = (socket: Socket) => {
    if (!mayBeSilent) return;
    mustAnswer = false;
    socket.setTimeout(silence, () => socket.destroy());
    socket.once('data', (chunk: Buffer) => {
      mustAnswer = chunk.toString('latin1').startsWith('HTTP/');
      if (mustAnswer) socket.setTimeout(0);
      else socket.destroy();
    });
  };
  try {
    return { protocol: asHttp.protocol, ...judge(await ask(asHttp, health, signal, connected), health) };
  } catch (error) {
    if (signal.aborted || mustAnswer) throw error;
    return { protocol, fault: undefined };
  }
}

/** Returns true if the app has not changed the settings of the request or of the expected answer. */
function isDefault({ path, headers, status, body }: HealthSettings): boolean {
  const isAnyAnswer = path === '/' && status.join() === '100-499' && body === undefined;
  return isAnyAnswer && Object.keys(headers).length === 0;
}

async function ask(
  { protocol, port }: CheckedWorker,
  health: HealthSettings,
  signal: AbortSignal,
  connected: (socket: Socket) => void = () => undefined,
): Promise<Answer> {
  const { request } = protocol === 'https' ? await import('node:https') : http;
  return new Promise((resolve, reject) => {
    let hasFault = false;
    const headers = { 'user-agent': 'sluice-health', ...health.headers };
    const options = { host: '127.0.0.1', port, path: health.path, headers, agent: false, signal };
    // Certificates are for the names that clients use, not for this loopback port.
    request({ ...options, rejectUnauthorized: false }, (response) => {
      const status = response.statusCode ?? 0;
      hasFault = !isExpected(status, health);
      readBody(response, status, health)
        .then((body) => resolve({ status, body }), reject)
        .finally(() => response.destroy());
    })
      .on('socket', (socket) =>
        socket.once(protocol === 'https' ? 'secureConnect' : 'connect', () => connected(socket)),
      )
      // After an answer with a fault, only its body is lost.
      .on('error', (error) => hasFault || reject(error))
      .end();
  });
}

async function askHttp2(
  { protocol, port }: CheckedWorker,
  health: HealthSettings,
  signal: AbortSignal,
): Promise<Answer> {
  const { connect } = await import('node:http2');
  const scheme = protocol === 'http2s' ? 'https' : 'http';
  const session = connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  try {
    return await new Promise((resolve, reject) => {
      let hasFault = false;
      session.on('error', (error) => hasFault || reject(error));
      const stream = session.request(
        { ':path': health.path, 'user-agent': 'sluice-health', ...health.headers },
        { signal },
      );
      stream.on('error', (error) => hasFault || reject(error));
      stream.on('response', (headers) => {
        const status = headers[':status'] ?? 0;
        hasFault = !isExpected(status, health);
        readBody(stream, status, health).then((body) => resolve({ status, body }), reject);
      });
    });
  } finally {
    session.destroy();
  }
}

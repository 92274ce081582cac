import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { http } from '../system/process/footprint.ts';

/**
 * Requests a page of a host at an address. Accepts any certificate: this machine asks its own nginx.
 * @throws Error without an answer
 */
export async function requestHost(
  kind: 'http' | 'https',
  name: string,
  options: RequestOptions,
): Promise<IncomingMessage> {
  const request = (kind === 'http' ? http : process.getBuiltinModule('node:https')).get({
    ...options,
    agent: false,
    headers: { host: name },
    ...(kind === 'https' && { servername: name, rejectUnauthorized: false }),
  });
  request.on('timeout', () =>
    request.destroy(new Error(`no answer within ${(options.timeout ?? 0) / 1000} s`)),
  );
  // The request may also fail while its response is read. The response then reports that.
  request.on('error', () => undefined);
  const [response] = await once(request, 'response');
  return response;
}

/** Reads an answer up to its 1000th character. @throws Error if the answer is incomplete */
export async function bodyOf(response: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of response.setEncoding('latin1')) body = (body + chunk).slice(0, 1000);
  return body;
}

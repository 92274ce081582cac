import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { http } from '../system/process/footprint.ts';

/** Limits how much of an answer is read, in characters. */
const maxBody = 1000;

/**
 * Requests a page of a host at an address. Accepts any certificate: this machine asks its own nginx.
 * @param onResponse called when the head of the answer arrives
 * @throws Error if there is no complete answer
 */
export async function requestHost(
  kind: 'http' | 'https',
  name: string,
  options: RequestOptions,
  onResponse: () => void = () => undefined,
): Promise<{ status: number | undefined; body: string }> {
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
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  onResponse();
  let body = '';
  for await (const chunk of response.setEncoding('latin1')) body = (body + chunk).slice(0, maxBody);
  return { status: response.statusCode, body };
}

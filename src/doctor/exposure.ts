import { isLoopback } from '../system/net/address.ts';
import { type Check, ok, type Patient, warning } from './check.ts';

/** Whether tokens can be overheard: the API speaks plain HTTP. */
export async function checkExposure({ server, limits }: Patient): Promise<Check> {
  // What it listens on now is what counts; the settings may have been changed since it was started.
  const host = server.state === 'up' ? new URL(server.status.server.url).hostname : limits.listen.host;
  if (isLoopback(host)) return ok('api', `listens on this machine only (${host})`);
  return warning(
    'api',
    `listens on ${host} without TLS: tokens travel unencrypted`,
    'Let "listen.host" in config.json be 127.0.0.1, and reach it through a domain with TLS (`sluice domains`) or an ssh tunnel.',
  );
}

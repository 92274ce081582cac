import { BlockList, isIPv6 } from 'node:net';
import { type Check, ok, type Patient, warning } from './check.ts';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/** Whether tokens can be overheard: the API speaks plain HTTP. */
export async function checkExposure({ server, limits }: Patient): Promise<Check> {
  // What it listens on now is what counts; the settings may have been changed since it was started.
  const host =
    server.state === 'up'
      ? new URL(server.status.server.url).hostname.replace(/^\[|\]$/g, '')
      : limits.listen.host;
  if (loopback.check(host, isIPv6(host) ? 'ipv6' : 'ipv4'))
    return ok('api', `listens on this machine only (${host})`);
  return warning(
    'api',
    `listens on ${host} without TLS: tokens travel unencrypted`,
    'Let "listen.host" in config.json be 127.0.0.1, and reach it through an ssh tunnel or a proxy that speaks TLS.',
  );
}

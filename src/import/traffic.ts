import { isLoopback } from '../system/net/address.ts';
import { changesFor } from './nginx.ts';
import type { PlannedApp } from './plan.ts';

/**
 * Way of the traffic of an app:
 *
 * - `nginx` sends requests to the port of PM2, as these files say.
 * - `port`: clients connect to the port of PM2 itself, or through a proxy that is not nginx.
 * - `none`: the app has no port.
 * - `unknown`: its port is not known.
 */
export type Traffic =
  | { by: 'nginx'; files: string[] }
  | { by: 'port'; port: number; host: string }
  | { by: 'none' }
  | { by: 'unknown' };

/** Finds the way of the traffic of an app. @param files of nginx, with their texts; undefined without nginx */
export function trafficOf(
  { web, port }: PlannedApp,
  files: ReadonlyMap<string, string> | undefined,
): Traffic {
  if (web === undefined) return { by: 'none' };
  if (port === undefined) return { by: 'unknown' };
  const somewhere = { host: '127.0.0.1', port: 0 };
  const changed = changesFor(files ?? new Map(), new Set(port.ports), somewhere).map(({ path }) => path);
  if (changed.length > 0) return { by: 'nginx', files: changed };
  return { by: 'port', port: port.port, host: hostOf(port.hosts) };
}

/** Returns the address on which an app must listen to be reached like an app that listens on these addresses. */
function hostOf(hosts: readonly string[]): string {
  const everywhere = hosts.find((host) => host === '::') ?? hosts.find((host) => host === '0.0.0.0');
  return everywhere ?? hosts.find((host) => !isLoopback(host)) ?? hosts[0] ?? '127.0.0.1';
}

/** Describes the way of the traffic for people. */
export function describeTraffic(traffic: Traffic): string {
  switch (traffic.by) {
    case 'nginx':
      return `nginx passes requests on: ${traffic.files.join(', ')}`;
    case 'port':
      return `PM2 has port ${traffic.port} on ${traffic.host} itself`;
    case 'none':
      return '';
    case 'unknown':
      return 'the port is not known: name it with --port';
  }
}

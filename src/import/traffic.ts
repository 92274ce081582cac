import { isLoopback } from '../system/net/address.ts';
import { changesFor, type FileChange } from './nginx.ts';
import type { PlannedApp } from './plan.ts';
import { findUnmoved, type Line } from './unmoved.ts';

/**
 * Way of the traffic of an app:
 *
 * - `nginx` sends requests to the port of PM2, as these files say. The import cannot change the lines that are `unmoved`.
 * - `port`: clients connect to the port of PM2 itself, or through a proxy that is not nginx.
 * - `none`: the app has no port.
 * - `unknown`: its port is not known.
 */
export type Traffic =
  | { by: 'nginx'; files: string[]; unmoved: Line[] }
  | { by: 'port'; port: number; host: string }
  | { by: 'none' }
  | { by: 'unknown' };

/** Finds the way of the traffic of an app. @param files of nginx, with their texts; undefined without nginx */
export async function trafficOf(
  { web, port }: PlannedApp,
  files: ReadonlyMap<string, string> = new Map(),
): Promise<Traffic> {
  if (web === undefined) return { by: 'none' };
  if (port === undefined) return { by: 'unknown' };
  const ports = new Set(port.ports);
  const changes = changesFor(files, ports, { host: '127.0.0.1', port: 0 });
  if (changes.length === 0) return { by: 'port', port: port.port, host: hostOf(port.hosts) };
  const unmoved = await findUnmoved(withChanges(files, changes), ports);
  return { by: 'nginx', files: changes.map(({ path }) => path), unmoved };
}

/** Returns the texts of files after changes. */
export function withChanges(
  files: ReadonlyMap<string, string>,
  changes: readonly FileChange[],
): Map<string, string> {
  return new Map([...files, ...changes.map(({ path, after }) => [path, after] as const)]);
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
      return [
        `nginx passes requests on: ${traffic.files.join(', ')}`,
        ...traffic.unmoved.map((line) => `--apply needs a change by hand first: ${lineText(line)}`),
      ].join('; ');
    case 'port':
      return `PM2 has port ${traffic.port} on ${traffic.host} itself`;
    case 'none':
      return '';
    case 'unknown':
      return 'the port is not known: name it with --port';
  }
}

/** Describes a line of a file for people. */
export function lineText({ path, number, text }: Line): string {
  return `${path}:${number}: ${text}`;
}

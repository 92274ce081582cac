import type { Listener } from '../system/net/listeners.ts';
import type { Pm2App } from './pm2-apps.ts';

/** Port on which PM2 has an app listen. */
export interface Pm2Port {
  port: number;
  /** all ports of its processes, which `increment_var` may make different */
  ports: number[];
  /** addresses, such as `::` or `127.0.0.1` */
  hosts: string[];
}

interface PortFacts {
  listeners: readonly Listener[];
  /** pid of PM2's daemon, which has the sockets of all apps in cluster mode; undefined if it is unknown */
  daemon: number | undefined;
  parentOf: (pid: number) => number | undefined;
}

/**
 * Finds the port of each app. A process in fork mode, or one of its children, has the socket. In cluster mode the daemon has it:
 * the variable PORT decides, or that only one app and one port remain.
 */
export function findPorts(
  apps: readonly Pm2App[],
  { listeners, daemon, parentOf }: PortFacts,
): Map<Pm2App, Pm2Port> {
  const found = new Map<Pm2App, Pm2Port>();
  const portsOf = (isOwner: (pid: number) => boolean) => {
    const own = listeners.filter(({ pids }) => pids.some(isOwner));
    return [...new Set(own.map(({ port }) => port))].sort((a, b) => a - b);
  };
  const note = (app: Pm2App, port: number, all = [port]) => {
    const hosts = listeners.filter((listener) => listener.port === port).map(({ host }) => host);
    found.set(app, { port, ports: all, hosts: [...new Set(hosts)] });
  };
  const forks = apps.filter(({ isCluster }) => !isCluster);
  for (const app of forks) {
    const ports = portsOf((pid) => isBelow(pid, app.pids, parentOf));
    const port = ports.find((each) => each === app.portVariable) ?? ports[0];
    if (port !== undefined) note(app, port, ports);
  }
  const ports = new Set(daemon === undefined ? [] : portsOf((pid) => pid === daemon));
  const clusters = apps.filter(({ isCluster, isOnline }) => isCluster && isOnline);
  for (const app of clusters) {
    if (app.portVariable === undefined || !ports.delete(app.portVariable)) continue;
    note(app, app.portVariable);
  }
  const [left, ...more] = clusters.filter((app) => !found.has(app));
  const [port, ...others] = ports;
  if (left !== undefined && port !== undefined && more.length === 0 && others.length === 0) note(left, port);
  return found;
}

/** Returns true if a process is one of `pids` or was started by one. */
function isBelow(pid: number, pids: readonly number[], parentOf: PortFacts['parentOf']): boolean {
  for (let at: number | undefined = pid; at !== undefined && at > 1; at = parentOf(at))
    if (pids.includes(at)) return true;
  return false;
}

import { environmentName } from '../config/paths.ts';
import { isLoopback } from '../system/net/address.ts';
import { type Check, ok, type Patient, warning } from './check.ts';

/**
 * Whether apps listen, for everybody, on ports that nobody has named: one on `PORT` gets the app's own, and is on loopback
 * unless the settings say otherwise; any other it gets as it asks for it.
 */
export async function checkOutside({ server, limits, listeners }: Patient): Promise<Check | undefined> {
  if (server.state !== 'up') return undefined;
  if (listeners === undefined) return undefined;
  const found = new Set<string>();
  for (const app of server.status.apps) {
    const pids = new Set([...app.workers, ...app.background].map(({ pid }) => pid));
    const name = environmentName({ app: app.name, environment: app.environment });
    for (const { host, port, pids: holders } of listeners) {
      if (port === app.port || isLoopback(host) || !holders.some((pid) => pids.has(pid))) continue;
      found.add(
        `${name} listens on port ${port} of ${host} too, which others can reach unless a firewall is before it`,
      );
    }
  }
  if (found.size > 0) return warning('outside', [...found].join('\n'), hint);
  const { host } = limits.apps;
  return ok(
    'outside',
    isLoopback(host)
      ? 'apps can be reached from this machine only'
      : `apps can be reached on ${host}, each on its own port only`,
  );
}

const hint = `Let the app listen on 127.0.0.1 there, where nobody else is meant to reach it. Sluice looks after the port in PORT alone.`;

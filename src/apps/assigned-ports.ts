import { listPorts } from '../config/environment-state.ts';
import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import type { HeldPortsReport, PortAddress } from '../protocol/runner.ts';
import { Lock } from '../system/concurrency/slots.ts';
import type { Log } from '../system/log/log.ts';

interface AssignedPortsOptions {
  paths: Paths;
  settings: ServerSettings;
  log: Log;
  /** addresses to which nginx sends requests, including those of removed apps */
  routed: () => readonly PortAddress[];
  /** address of the API, if the runner can reserve its port */
  api: () => PortAddress | undefined;
}

type Reserve = (addresses: PortAddress[]) => Promise<HeldPortsReport>;

/**
 * Returns a function that has a runner reserve the ports that are assigned now: those of all apps, that of the API, and
 * those to which nginx still sends requests. Only logs a failure, because apps run without it.
 */
export function portReservation(options: AssignedPortsOptions): (reserve: Reserve) => Promise<void> {
  const turns = new Lock();
  return (reserve) =>
    turns.run(async () => {
      try {
        await reserve(await assignedPorts(options));
      } catch (error) {
        options.log.warn('ports not reserved', { error });
      }
    });
}

async function assignedPorts({ paths, settings, routed, api }: AssignedPortsOptions): Promise<PortAddress[]> {
  const { host } = settings.apps;
  const apps = (await listPorts(paths)).map(({ port, host: own = host }) => ({ host: own, port }));
  const ofApi = api();
  const all = [...(ofApi ? [ofApi] : []), ...apps, ...routed()];
  const byName = new Map(all.map(({ host, port }) => [`${host} ${port}`, { host, port }]));
  return [...byName.values()].sort((a, b) => a.port - b.port);
}

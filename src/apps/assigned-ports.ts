import { listEnvironmentsWithState, portOf } from '../config/environment-state.ts';
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

/** Ports that the runner reserves: those of all apps, that of the API, and those to which nginx still sends requests. */
export class AssignedPorts {
  readonly #options: AssignedPortsOptions;
  readonly #turns = new Lock();

  constructor(options: AssignedPortsOptions) {
    this.#options = options;
  }

  /** Has a runner reserve the ports that are assigned now. Only logs a failure, because apps run without it. */
  reserve(reserve: Reserve): Promise<void> {
    return this.#turns.run(async () => {
      try {
        await reserve(await this.#all());
      } catch (error) {
        this.#options.log.warn('ports not reserved', { error });
      }
    });
  }

  async #all(): Promise<PortAddress[]> {
    const { paths, settings, routed, api } = this.#options;
    const apps: PortAddress[] = [];
    for (const id of await listEnvironmentsWithState(paths)) {
      const port = await portOf(paths.environment(id).state);
      if (port !== undefined) apps.push({ host: settings.apps.host, port });
    }
    const ofApi = api();
    const all = [...(ofApi ? [ofApi] : []), ...apps, ...routed()];
    const byName = new Map(all.map(({ host, port }) => [`${host} ${port}`, { host, port }]));
    return [...byName.values()].sort((a, b) => a.port - b.port);
  }
}

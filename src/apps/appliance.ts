import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import type { Edge } from '../edge/edge.ts';
import type { MoveLock } from '../system/concurrency/move-lock.ts';
import type { Slots } from '../system/concurrency/slots.ts';
import type { Log } from '../system/log/log.ts';
import type { RunnerClient } from './runner-client.ts';

/** What all recipes work with: handed in, never imported. */
export interface Appliance {
  paths: Paths;
  settings: ServerSettings;
  runner: RunnerClient;
  /** has the runner hold the ports that are assigned now; called after an app got a port or was removed */
  holdPorts: () => Promise<void>;
  log: Log;
  /** the host names that lead to apps */
  domains: Pick<Edge, 'of' | 'removeOf'>;
  /** the builds of all apps share these */
  builds: Slots;
  /** between those who copy what is on the disk, and those who move or remove what others may be copying */
  moveLock: MoveLock;
  /** absolute path of the Node.js binary that apps run on */
  node: string;
}

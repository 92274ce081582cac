import type { Paths } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import type { Edge } from '../edge/edge.ts';
import type { MoveLock } from '../system/concurrency/move-lock.ts';
import type { Lock, LockByKey, Slots } from '../system/concurrency/slots.ts';
import type { Log } from '../system/log/log.ts';
import type { RunnerClient } from './runner-client.ts';

/** Calls to the runner. */
export type RunnerCaller = Pick<
  RunnerClient,
  'call' | 'open' | 'status' | 'oneOffs' | 'hasUsers' | 'connectedSince' | 'onConnected'
>;

/** Dependencies of the use cases, passed as an argument. */
export interface Appliance {
  paths: Paths;
  settings: ServerSettings;
  runner: RunnerCaller;
  /** reports the assigned ports to the runner, after an app was created or removed */
  reservePorts: () => Promise<void>;
  log: Log;
  /** domains of apps */
  domains: Pick<Edge, 'add' | 'of' | 'removeOf' | 'refresh'>;
  /** limits the builds of all apps that run at the same time */
  builds: Slots;
  /** excludes moves and removals of files while a backup copies them */
  moveLock: MoveLock;
  /** absolute path of Sluice's own Node.js, which runs apps that accept its version */
  node: string;
  /** lets one installation of a Node.js run at a time */
  nodeLock: Lock;
  /** locks of other versions of Node.js: one is not removed while a deploy checks, marks or installs it */
  nodeVersions: LockByKey;
}

import type { AppSettings } from '../../config/app-settings.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';

export interface WorkerCount {
  count: number;
  /** why `auto` gives less than one worker per core, and how to change that; null otherwise */
  reason: string | null;
}

/** Packages that keep state inside the process: two workers would have different states. */
const stateful = {
  'an embedded database':
    'better-sqlite3 better-sqlite3-multiple-ciphers sqlite3 sqlite sql.js lowdb nedb @seald-io/nedb nedb-promises level classic-level leveldown rocksdb lmdb keyv-file node-json-db @electric-sql/pglite lokijs',
  'a scheduler': 'node-cron cron croner node-schedule bree toad-scheduler @fastify/schedule @nestjs/schedule',
};

/**
 * Packages whose clients may poll: all requests of a client must reach the process that began the client's session. An adapter
 * such as `@socket.io/redis-adapter` carries messages between processes, but does not share sessions.
 */
const sticky =
  'socket.io engine.io @nestjs/platform-socket.io @feathersjs/socketio fastify-socket.io sockjs faye';

/** Returns the number of workers of the app in `directory` on a machine with `cores`. */
export async function resolveWorkers(
  setting: AppSettings['workers'],
  directory: string,
  cores: number,
): Promise<WorkerCount> {
  if (setting === 'max') return { count: cores, reason: null };
  if (typeof setting === 'number') {
    return { count: setting > 0 ? setting : Math.max(1, cores + setting), reason: null };
  }
  const why = cores === 1 ? null : reasonForOneWorker(await readManifest(directory));
  if (why === null) return { count: cores, reason: null };
  return {
    count: 1,
    reason: `1 worker, not ${cores}: ${why}. If the app supports several workers, set "workers" in sluice.json: "max" is one per core.`,
  };
}

function reasonForOneWorker(manifest: Manifest | undefined): string | null {
  const dependencies = Object.keys({ ...manifest?.dependencies, ...manifest?.optionalDependencies });
  const dependencyOf = (packages: string) => dependencies.find((name) => packages.split(' ').includes(name));
  for (const [kind, packages] of Object.entries(stateful)) {
    const found = dependencyOf(packages);
    if (found !== undefined) return `${found} is ${kind}, which keeps its state inside the process`;
  }
  const polled = dependencyOf(sticky);
  if (polled === undefined) return null;
  return `all requests of a polling ${polled} client must reach the same process, even if an adapter connects the processes`;
}

import type { AppSettings } from '../../config/app-settings.ts';
import { type Manifest, readManifest } from '../../config/package-manifest.ts';
import { usesNodeSqlite } from './node-sqlite.ts';

interface WorkerCount {
  count: number;
  /** why `auto` came to fewer than one worker a core, and how to change it; null otherwise */
  reason: string | null;
}

/** Packages that keep state inside the process, which two workers would each have a version of. */
const stateful: Record<string, string[]> = {
  'an embedded database':
    'better-sqlite3 better-sqlite3-multiple-ciphers sqlite3 sqlite sql.js lowdb nedb @seald-io/nedb nedb-promises level classic-level leveldown rocksdb lmdb keyv-file node-json-db @electric-sql/pglite lokijs'.split(
      ' ',
    ),
  'a scheduler':
    'node-cron cron croner node-schedule bree toad-scheduler @fastify/schedule @nestjs/schedule'.split(' '),
};

/**
 * Packages whose clients may poll: all requests of a client must reach the process that began the client's session. An adapter
 * such as `@socket.io/redis-adapter` carries messages between processes, but does not share sessions.
 */
const sticky =
  'socket.io engine.io @nestjs/platform-socket.io @feathersjs/socketio fastify-socket.io sockjs faye'.split(
    ' ',
  );

/** How many workers the app in `directory` gets on a machine with `cores`. */
export async function resolveWorkers(
  setting: AppSettings['workers'],
  directory: string,
  cores: number,
): Promise<WorkerCount> {
  if (setting === 'max') return { count: cores, reason: null };
  if (typeof setting === 'number') {
    return { count: setting > 0 ? setting : Math.max(1, cores + setting), reason: null };
  }
  if (cores === 1) return { count: 1, reason: null };
  const why = stateInProcess(await readManifest(directory)) ?? (await stateInSqlite(directory));
  if (why === null) return { count: cores, reason: null };
  return {
    count: 1,
    reason: `1 worker, not ${cores}: ${why}. If several workers are fine all the same, set "workers" in sluice.json, to "max" for one a core.`,
  };
}

async function stateInSqlite(directory: string): Promise<string | null> {
  if (!(await usesNodeSqlite(directory))) return null;
  return "node:sqlite, which the app's code names, is an embedded database, which several processes lock each other out of";
}

function stateInProcess(manifest: Manifest | undefined): string | null {
  const dependencies = Object.keys({ ...manifest?.dependencies, ...manifest?.optionalDependencies });
  for (const [kind, packages] of Object.entries(stateful)) {
    const found = dependencies.find((name) => packages.includes(name));
    if (found !== undefined) return `${found} is ${kind}, which keeps its state inside the process`;
  }
  const polled = dependencies.find((name) => sticky.includes(name));
  if (polled === undefined) return null;
  return `all requests of a polling ${polled} client must reach the same process, even if an adapter connects the processes`;
}

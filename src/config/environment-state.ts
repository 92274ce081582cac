import { rmdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { AppError, hasCode } from '../errors/app-error.ts';
import { Slots } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, writeJsonAtomic } from '../system/fs/files.ts';
import { count } from './field-types.ts';
import { type EnvironmentId, listEnvironments, type Paths } from './paths.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

const timestamp = v.pipe(v.string(), v.isoTimestamp('a time such as "2026-01-31T12:00:00.000Z"'));

const targetStateSchema = v.strictObject({
  port: count('Where the app is reached: its own, once and for good.', 1, 65535),
  desired: v.pipe(v.picklist(['running', 'stopped']), v.description('What its operator wants.')),
  desiredSince: v.optional(v.nullable(timestamp), null),
  workers: v.nullable(count('How many workers, whatever the release says; null: what it says.', 1, 64)),
  createdAt: timestamp,
  rebuild: v.optional(
    v.nullable(
      count(
        'Release whose commit is to be built, since a backup without its files was restored.',
        1,
        999_999_999,
      ),
    ),
    null,
  ),
});

/** What is settled about an app in one environment, whatever its releases say: `app.json`. */
export type EnvironmentState = v.InferOutput<typeof targetStateSchema>;

/**
 * The state in the file `path`, or undefined where there is none.
 * @throws AppError `invalid_settings` that names every fault of the file
 */
export async function loadEnvironmentState(path: string): Promise<EnvironmentState | undefined> {
  const value = await readJsonSettings(path, path);
  return value === undefined ? undefined : parseSettings(targetStateSchema, value, path);
}

export async function saveEnvironmentState(path: string, state: EnvironmentState): Promise<void> {
  await writeJsonAtomic(path, parseSettings(targetStateSchema, state, path));
}

/** Two first deploys at once must not find the same free port: looking and claiming is one step in this process. */
const creation = new Slots(1);

/** The state of a target; on its first use it gets the next free port, and is on the disk when this returns. */
export function ensureEnvironmentState(
  paths: Paths,
  target: EnvironmentId,
  { firstPort, host }: { firstPort: number; host: string },
): Promise<EnvironmentState> {
  return creation.run(async () => {
    const { directory, state: path } = paths.environment(target);
    const existing = await loadEnvironmentState(path);
    if (existing !== undefined) return existing;
    const port = await allocatePort(paths, firstPort, host);
    await ensurePrivateDirectory(directory);
    const state: EnvironmentState = {
      port,
      desired: 'running',
      desiredSince: null,
      workers: null,
      createdAt: new Date().toISOString(),
      rebuild: null,
    };
    try {
      await saveEnvironmentState(path, state);
    } catch (error) {
      await removeIfEmpty(directory, dirname(directory));
      throw error;
    }
    return state;
  });
}

/** Removes directories in the given order, up to the first that is not empty. */
async function removeIfEmpty(...directories: string[]): Promise<void> {
  for (const directory of directories) {
    try {
      await rmdir(directory);
    } catch {
      // The directory is not empty, or the disk refuses; an empty directory does no harm, since it is no app.
      return;
    }
  }
}

/** All targets that have a state on the disk, whether or not it can be read, by name. */
export async function listEnvironmentsWithState(paths: Paths): Promise<EnvironmentId[]> {
  const targets: EnvironmentId[] = [];
  for (const target of await listEnvironments(paths)) {
    if (await exists(paths.environment(target).state)) targets.push(target);
  }
  return targets;
}

/**
 * The lowest port from `firstPort` up that no target has and that can be bound on `host` now. Nothing is reserved:
 * `ensureTargetState` is what claims one.
 * @throws AppError `port_taken` where there is none
 */
async function allocatePort(paths: Paths, firstPort: number, host: string): Promise<number> {
  const taken = new Set<number>();
  for (const target of await listEnvironmentsWithState(paths)) {
    const port = await portOf(paths.environment(target).state);
    if (port !== undefined) taken.add(port);
  }
  for (let port = firstPort; port <= 65535; port++) {
    if (!taken.has(port) && (await canBind(port, host))) return port;
  }
  throw new AppError('port_taken', `no port from ${firstPort} to 65535 is free on ${host}`, {
    hint: 'Set a lower "apps.firstPort" in config.json, or end what holds these ports.',
  });
}

/** Returns the port in the state file `path`; undefined if the file is damaged, which must not prevent new apps. */
export async function portOf(path: string): Promise<number | undefined> {
  try {
    return (await loadEnvironmentState(path))?.port;
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid_settings') return undefined;
    throw error;
  }
}

function canBind(port: number, host: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      // EACCES: a port below 1024, where this user may not bind one.
      if (hasCode(error, 'EADDRINUSE', 'EACCES')) resolve(false);
      else reject(error);
    });
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

import { once } from 'node:events';
import { rmdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { AppError, hasCode } from '../errors/app-error.ts';
import { Lock } from '../system/concurrency/slots.ts';
import { exists } from '../system/fs/exists.ts';
import { ensurePrivateDirectory, readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { count } from './field-types.ts';
import { type EnvironmentId, listEnvironments, type Paths } from './paths.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

const timestamp = v.pipe(v.string(), v.isoTimestamp('a time such as "2026-01-31T12:00:00.000Z"'));

const environmentStateSchema = v.strictObject({
  /** port of the app; once a release was live, only a move changes it: see src/deploy/move-port.ts */
  port: count(1, 65535),
  /** address on which the app listens; undefined for `apps.host` of config.json */
  host: v.optional(v.pipe(v.string(), v.ip('a numeric address'))),
  desired: v.picklist(['running', 'stopped']),
  desiredSince: v.optional(v.nullable(timestamp), null),
  /** number of workers; null for the number of the release */
  workers: v.nullable(count(1, 64)),
  createdAt: timestamp,
  /** release to build from its commit, after a restore from a backup without its files */
  rebuild: v.optional(v.nullable(count(1, 999_999_999)), null),
});

/** State of an environment that does not depend on its releases: `app.json`. */
export type EnvironmentState = v.InferOutput<typeof environmentStateSchema>;

/**
 * Returns the state in the file `path`; undefined if the file does not exist.
 * @throws AppError `invalid_settings` that lists every fault of the file
 */
export async function loadEnvironmentState(path: string): Promise<EnvironmentState | undefined> {
  const value = await readJsonSettings(path, path);
  return value === undefined ? undefined : parseSettings(environmentStateSchema, value, path);
}

export async function saveEnvironmentState(path: string, state: EnvironmentState): Promise<void> {
  await writeJsonAtomic(path, parseSettings(environmentStateSchema, state, path));
}

/** Prevents that two apps find the same free port. */
const creation = new Lock();

/** Returns the state of an environment. On the first use, assigns the next free port and writes the state to the disk. */
export function ensureEnvironmentState(
  paths: Paths,
  id: EnvironmentId,
  { firstPort, host }: { firstPort: number; host: string },
): Promise<EnvironmentState> {
  return creation.run(async () => {
    const { directory, state: path } = paths.environment(id);
    const existing = await loadEnvironmentState(path);
    if (existing !== undefined) return existing;
    const port = await nextPort(paths, firstPort, host);
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
      // An empty directory is not an app.
      await Promise.allSettled([rmdir(directory).then(() => rmdir(dirname(directory)))]);
      throw error;
    }
    return state;
  });
}

/**
 * Gives an environment the next free port instead of its own, and returns the state.
 * @throws AppError `port_taken` if none is free
 */
export function changePort(
  paths: Paths,
  id: EnvironmentId,
  { firstPort, host }: { firstPort: number; host: string },
): Promise<EnvironmentState | undefined> {
  return creation.run(async () => {
    const { state: path } = paths.environment(id);
    const state = await loadEnvironmentState(path);
    if (state === undefined) return undefined;
    const changed = { ...state, port: await nextPort(paths, firstPort, host) };
    await saveEnvironmentState(path, changed);
    return changed;
  });
}

/** Returns all environments with a state on the disk, sorted by name. The state may be damaged. */
export async function listEnvironmentsWithState(paths: Paths): Promise<EnvironmentId[]> {
  const all = await listEnvironments(paths);
  const hasState = await Promise.all(all.map((id) => exists(paths.environment(id).state)));
  return all.filter((_, index) => hasState[index]);
}

/**
 * Returns a port from `firstPort` that no environment has and that is free on `host` now: the lowest one above all that were assigned
 * before, else the lowest one. So a proxy that still sends requests to the port of a removed app does not reach another app. Does not
 * reserve the port.
 * @throws AppError `port_taken` if there is none
 */
export function allocatePort(paths: Paths, firstPort: number, host: string): Promise<number> {
  return creation.run(() => nextPort(paths, firstPort, host));
}

/** Allocates a port for a caller that has the lock. */
async function nextPort(paths: Paths, firstPort: number, host: string): Promise<number> {
  const taken = new Set((await listPorts(paths)).map(({ port }) => port));
  const highest = (await recordedPort(paths, firstPort)) ?? firstPort - 1;
  for (const [from, to] of [
    [highest + 1, 65535],
    [firstPort, highest],
  ] as const) {
    for (let port = from; port <= to; port += 1) {
      if (taken.has(port) || !(await canBind(port, host))) continue;
      if (port > highest) await recordPort(paths, firstPort, port);
      return port;
    }
  }
  throw new AppError('port_taken', `no port from ${firstPort} to 65535 is free on ${host}`, {
    hint: 'Set a lower "apps.firstPort" in config.json, or stop the programs that use these ports.',
  });
}

/**
 * Records the highest port from `firstPort` that an app has, if there is no record for this `firstPort`, or a damaged one: after an
 * update or a restore. So no new app gets the port of an app that is removed later.
 */
export function ensurePortRecord(paths: Paths, firstPort: number): Promise<void> {
  return creation.run(async () => {
    if ((await recordedPort(paths, firstPort)) !== undefined) return;
    const ports = (await listPorts(paths)).map(({ port }) => port);
    const highest = Math.max(...ports);
    if (highest >= firstPort) await recordPort(paths, firstPort, highest);
  });
}

const portNumber = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65535));
const assignedPortsSchema = v.object({ firstPort: portNumber, highest: portNumber });

/** Highest port that was assigned since `firstPort` is the setting. */
type AssignedPorts = v.InferOutput<typeof assignedPortsSchema>;

/** Returns the highest port that Sluice has assigned; undefined if there is no record for this `firstPort`, or a damaged one. */
async function recordedPort(paths: Paths, firstPort: number): Promise<number | undefined> {
  const record = await readJson(paths.ports).catch(() => undefined);
  const isValid =
    v.is(assignedPortsSchema, record) && record.firstPort === firstPort && record.highest >= firstPort;
  return isValid ? record.highest : undefined;
}

function recordPort(paths: Paths, firstPort: number, highest: number): Promise<void> {
  return writeJsonAtomic(paths.ports, { firstPort, highest } satisfies AssignedPorts);
}

/** Returns the port of each environment, and its address if it has its own. Leaves out damaged states, which must not prevent new apps. */
export async function listPorts(
  paths: Paths,
): Promise<{ id: EnvironmentId; port: number; host: string | undefined }[]> {
  const assigned: { id: EnvironmentId; port: number; host: string | undefined }[] = [];
  for (const id of await listEnvironments(paths)) {
    try {
      const state = await loadEnvironmentState(paths.environment(id).state);
      if (state !== undefined) assigned.push({ id, port: state.port, host: state.host });
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'invalid_settings')) throw error;
    }
  }
  return assigned;
}

async function canBind(port: number, host: string): Promise<boolean> {
  await using server = createServer();
  try {
    await once(server.listen({ port, host, exclusive: true }), 'listening');
    return true;
  } catch (error) {
    // EACCES: this user may not bind a port below 1024.
    if (hasCode(error, 'EADDRINUSE', 'EACCES')) return false;
    throw error;
  }
}

import type { Environment } from '../apps/environment.ts';
import { chooseNode, isBefore, majorOf } from '../build/node-version/choose.ts';
import { touchNode } from '../build/node-version/installed.ts';
import { AppError } from '../errors/app-error.ts';
import type { ReleaseNode } from '../releases/release.ts';
import { ensureNode, ownNode, registryNodes } from './node.ts';
import { applyChange } from './run-state.ts';

/** Result of an update of an app's Node.js. */
export interface NodeUpdate {
  /** version before; null if an early version of Sluice has not recorded it */
  from: string | null;
  to: string;
  /** `switched`: the app runs on the new version. `pending`: it gets the new version at its next start. `unchanged`: it has the newest */
  outcome: 'switched' | 'pending' | 'unchanged';
}

/** Longest age of the list of versions for an update, in ms: one update of many apps reads the list once. */
const maxAge = 60_000;

/**
 * Moves the live release of an environment to the newest version of its Node.js that the app accepts, by a switch. Stays in the
 * major version, because native addons work with one major version only. The caller holds the lock `environment.trafficLock`.
 * @throws AppError `not_deployed`, `install_failed`; errors of a failed boot or switch
 */
export async function updateNode(environment: Environment, signal: AbortSignal): Promise<NodeUpdate> {
  const { appliance, paths, store } = environment;
  const live = await environment.requireLiveRelease();
  const { number, node: current } = live;
  const log = (line: string) => appliance.log.info('Node.js', { app: environment.name, line });
  const list = async () => (await registryNodes(appliance, { log, signal }, maxAge)).versions;
  const target = await newerNode(current, list);
  const node = target === undefined ? undefined : await ensureNode(appliance, target, { log, signal });
  const from = current?.version ?? null;
  if (node === undefined || node.version === from) {
    return { from, to: from ?? ownNode, outcome: 'unchanged' };
  }
  const keep = async () => void (await store.update(number, { node }));
  const change = { node, files: [paths.release(number).record], keep };
  const isSwitched = await applyChange(environment, live, change, signal);
  // Workers that still drain use the former version.
  if (from !== null) await touchNode(appliance.paths.tools, from);
  return { from, to: node.version, outcome: isSwitched ? 'switched' : 'pending' };
}

/** Returns the Node.js to which a release may move; undefined if there is none. */
async function newerNode(
  current: ReleaseNode | undefined,
  list: () => Promise<readonly string[]>,
): Promise<ReleaseNode | undefined> {
  if (current === undefined) return { version: ownNode, own: true, requests: [] };
  const { requests } = current;
  try {
    const nodes = { own: ownNode, list, major: majorOf(current.version) };
    const { version, own } = await chooseNode(requests, nodes);
    const isOlder = !own && isBefore(version, current.version);
    return isOlder ? undefined : { version, own, requests };
  } catch (error) {
    if (error instanceof AppError && error.code === 'unsupported_node_version') return undefined;
    throw error;
  }
}

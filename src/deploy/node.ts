import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import { CommandRunner } from '../build/command-runner.ts';
import { npmInstaller } from '../build/install/npm.ts';
import { type AvailableNodes, accepts, majorOf } from '../build/node-version/choose.ts';
import {
  installedNodes,
  installNode,
  nodePackage,
  nodePath,
  removeIfUnused,
  touchNode,
} from '../build/node-version/installed.ts';
import { knownVersions } from '../build/node-version/known.ts';
import { fetchNodeList, isRecent, type NodeList, readNodeList } from '../build/node-version/list.ts';
import type { ReleaseNode } from '../releases/release.ts';
import type { ReleaseOutline } from '../releases/store.ts';
import { exists } from '../system/fs/exists.ts';

/** Version of Sluice's own Node.js, which is `appliance.node`. */
export const ownNode = process.versions.node;

/** Time limit of the installation of a Node.js, in ms. */
const installTimeout = 600_000;

/** Log and cancellation of an installation. */
interface Context {
  log: (line: string) => void;
  signal: AbortSignal;
}

/** Returns the versions of Node.js that an app may get. */
export function availableNodes(appliance: Appliance, context: Context): AvailableNodes {
  return { own: ownNode, list: async () => (await registryNodes(appliance, context)).versions };
}

/**
 * Returns the versions in the registry. Reads the list again if it is old. If that fails, returns the old list, or without one the
 * versions that are installed and those that this version of Sluice knows.
 * @param maxAge of the list, in ms
 */
export async function registryNodes(
  { paths, runner }: Appliance,
  { log, signal }: Context,
  maxAge = 3_600_000,
): Promise<NodeList> {
  const list = await readNodeList(paths.nodeList);
  if (isRecent(list, maxAge)) return list;
  try {
    return await fetchNodeList(paths.nodeList, paths.home, (job, onProgress) =>
      runner.call('job', { job }, { signal, onProgress }),
    );
  } catch (error) {
    signal.throwIfAborted();
    log(`the list of Node.js versions was not read again: ${(error as Error).message}`);
    const versions = [...knownVersions, ...(await installedNodes(paths.tools))];
    return list ?? { readAt: new Date(0).toISOString(), versions };
  }
}

/** Returns the path of the Node.js of a release, which `ensureNode` has provided. */
export function nodeOf({ node, paths }: Appliance, wanted: ReleaseNode | undefined): string {
  const isOwn = wanted === undefined || wanted.own || wanted.version === ownNode;
  return isOwn ? node : nodePath(paths.tools, wanted.version);
}

/**
 * Provides the Node.js of a release: installs it if it is missing. An upgrade of Sluice replaces its own Node.js: a release on it
 * gets the new one if the release accepts it and the major version is the same. If an installation fails, takes an installed
 * version that the release accepts.
 * @returns the Node.js that runs the release; undefined, for Sluice's own, if the record is of an early version of Sluice
 * @throws AppError `install_failed`; the reason of the signal
 */
export async function ensureNode(
  appliance: Appliance,
  wanted: ReleaseNode | undefined,
  context: Context,
): Promise<ReleaseNode | undefined> {
  if (wanted === undefined) return undefined;
  const { version, requests } = wanted;
  if (version === ownNode) return { version, own: true, requests };
  const isLike = async (other: string) =>
    majorOf(other) === majorOf(version) && (await accepts(requests, other));
  if (wanted.own && (await isLike(ownNode))) return { version: ownNode, own: true, requests };
  try {
    await install(appliance, version, context);
    return { version, own: false, requests };
  } catch (error) {
    context.signal.throwIfAborted();
    for (const other of [ownNode, ...(await installedNodes(appliance.paths.tools))]) {
      if (!(await isLike(other)) || !(await holdNode(appliance, other, context.signal))) continue;
      context.log(`Node.js ${other} runs the app, because ${version} was not installed: ${textOf(error)}`);
      return { version: other, own: other === ownNode, requests };
    }
    throw error;
  }
}

/** Returns true if a version is installed, and marks it as used now, so that nothing removes it. */
async function holdNode(
  { paths, nodeVersions }: Appliance,
  version: string,
  signal: AbortSignal,
): Promise<boolean> {
  if (version === ownNode) return true;
  using _ = await nodeVersions.take(version, signal);
  return isHeld(paths.tools, version);
}

/** Does the work of `holdNode` under the lock of the version. */
async function isHeld(tools: string, version: string): Promise<boolean> {
  if (!(await exists(nodePath(tools, version)))) return false;
  await touchNode(tools, version);
  return true;
}

/** Installs a version of Node.js unless it is installed. */
async function install(
  { paths, nodeLock, nodeVersions, runner }: Appliance,
  version: string,
  { log, signal }: Context,
): Promise<void> {
  const { tools } = paths;
  using _version = await nodeVersions.take(version, signal);
  if (await isHeld(tools, version)) return;
  using _ = await nodeLock.take(signal);
  const commands = new CommandRunner(
    {
      ...{ secrets: [], user: '', isolated: false, log, signal },
      runJob: (job, onOutput, aborted) =>
        runner.call('job', { job }, { signal: aborted, onProgress: ({ text }) => onOutput(text) }),
    },
    installTimeout,
  );
  await installNode(tools, version, npmInstaller(commands, `${nodePackage}@${version}`));
}

/**
 * Removes versions of Node.js that no kept release needs. Waits for no installation.
 * @param running paths of Node.js that one-off commands use
 * @returns the removed versions
 */
export async function removeUnusedNodes(
  { paths: { tools }, nodeVersions }: Appliance,
  environments: () => Promise<Environment[]>,
  running: string[],
): Promise<string[]> {
  const installed = await installedNodes(tools);
  if (installed.length === 0) return [];
  const uses = (await Promise.all((await environments()).map(releasesWithNode))).flat();
  const used = new Set(uses.map(({ node }) => node?.version ?? ownNode));
  const removed: string[] = [];
  for (const version of installed) {
    if (used.has(version) || running.includes(nodePath(tools, version)) || nodeVersions.isTaken(version))
      continue;
    using _ = await nodeVersions.take(version);
    if (await removeIfUnused(tools, version)) removed.push(version);
  }
  return removed;
}

/** Returns the releases that run, may run again, or are being built. */
export async function releasesWithNode({ store }: Environment): Promise<ReleaseOutline[]> {
  const releases = await store.outlines();
  return releases.filter(({ liveAt, error, hasTree }) => error === null && (liveAt === null || hasTree));
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
}

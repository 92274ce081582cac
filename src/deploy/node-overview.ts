import { dirname } from 'node:path';
import type { Appliance } from '../apps/appliance.ts';
import type { Environment } from '../apps/environment.ts';
import { majorOf, newestOfMajor } from '../build/node-version/choose.ts';
import { installedNodes, nodePath } from '../build/node-version/installed.ts';
import { directorySize } from '../releases/disk.ts';
import { ownNode, registryNodes, releasesWithNode } from './node.ts';

/** Release that a version of Node.js is kept for. */
export interface NodeUse {
  app: string;
  environment: string;
  release: number;
  /** true for the live release */
  live: boolean;
}

/** Installed version of Node.js. */
export interface InstalledNode {
  version: string;
  /** true for the Node.js of Sluice */
  own: boolean;
  /** newest version of the same major version to which `sluice node update` may move apps */
  newest: string;
  sizeBytes: number;
  uses: NodeUse[];
}

/** Returns the versions of Node.js that are installed, the newest first, and the releases that each is kept for. */
export async function nodeOverview(
  appliance: Appliance,
  environments: Environment[],
  signal: AbortSignal,
): Promise<InstalledNode[]> {
  const { paths, log, node } = appliance;
  const { versions } = await registryNodes(appliance, { log: (line) => log.warn(line), signal });
  const uses = (await Promise.all(environments.map(usesOf))).flat();
  const installed = (await installedNodes(paths.tools)).filter((version) => version !== ownNode);
  const found = [ownNode, ...installed].map(async (version): Promise<InstalledNode> => {
    const own = version === ownNode;
    const newest = own ? version : await newestOfMajor(majorOf(version), [version, ...versions]);
    // The binary is in `bin`, beside the headers.
    const directory = dirname(dirname(own ? node : nodePath(paths.tools, version)));
    return {
      ...{ version, own, newest: newest ?? version, sizeBytes: await directorySize(directory) },
      uses: uses.filter((use) => use.version === version).map(({ version: _, ...use }) => use),
    };
  });
  return (await Promise.all(found)).sort((a, b) => majorOf(b.version) - majorOf(a.version));
}

/** Returns the kept releases of an environment with their versions. Those on the Node.js of Sluice run on its present one. */
async function usesOf(environment: Environment): Promise<(NodeUse & { version: string })[]> {
  const active = await environment.store.active();
  return (await releasesWithNode(environment)).map(({ number, node }) => ({
    ...environment.id,
    release: number,
    live: number === active?.release,
    version: node === undefined || node.own ? ownNode : node.version,
  }));
}

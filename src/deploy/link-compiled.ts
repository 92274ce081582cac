import { symlink } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Environment } from '../apps/environment.ts';

/** Name of the link in a release: src/worker/compile-cache.cjs. */
const linkName = '.sluice-compiled';

/**
 * Links the directory with the compiled code of an environment into a release. Node.js names each entry by the path of its module
 * relative to this link, so all releases share the entries of modules that are the same. A path of an upload takes precedence, and
 * the release then has no cache: a worker uses no other directory.
 * @param tree of the release in staging, which is as deep as its final directory
 */
export async function linkCompiled({ appliance, paths }: Environment, tree: string): Promise<void> {
  const parent = (await appliance.runner.hasUsers()) ? paths.temporary : paths.cache;
  await symlink(relative(tree, join(parent, 'compiled')), join(tree, linkName)).catch(() => undefined);
}

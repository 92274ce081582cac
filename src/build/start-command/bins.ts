import { join } from 'node:path';
import { type Manifest, readInstalledManifest } from '../../config/package-manifest.ts';
import { followInside, resolveFile, staysInside } from './files.ts';

/**
 * The file behind a program that a package brings, relative to `directory`, such as
 * `node_modules/next/dist/bin/next`. Undefined where no package has it.
 *
 * Packages are asked rather than `node_modules/.bin`: what pnpm puts there are shell scripts.
 */
export async function resolveBin(
  directory: string,
  manifest: Manifest,
  name: string,
): Promise<string | undefined> {
  const declared = [manifest.dependencies, manifest.optionalDependencies, manifest.devDependencies];
  // A program is most often named as its package.
  for (const dependency of new Set([name, ...declared.flatMap(Object.keys)])) {
    const file = await binOf(directory, join('node_modules', dependency), dependency, name);
    if (file !== undefined) return file;
  }
  // Of a package that another one depends on: npm and yarn link those too.
  const linked = await followInside(directory, join('node_modules/.bin', name));
  return linked === undefined ? undefined : await resolveFile(directory, linked);
}

async function binOf(
  directory: string,
  packagePath: string,
  packageName: string,
  name: string,
): Promise<string | undefined> {
  if (!staysInside(packagePath)) return undefined;
  const bin = (await readInstalledManifest(directory, packagePath))?.bin;
  if (bin === undefined) return undefined;
  const file = typeof bin === 'string' ? { [packageName.replace(/^@[^/]+\//, '')]: bin }[name] : bin[name];
  return file === undefined ? undefined : await resolveFile(directory, join(packagePath, file));
}

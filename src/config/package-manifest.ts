import { join } from 'node:path';
import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { PointsOutside } from '../system/fs/read-file.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

/** Texts by name. Ignores values of other types, such as a list used as a comment, as npm does. */
const names = v.optional(
  v.fallback(
    v.pipe(
      v.record(v.string(), v.unknown()),
      v.transform((all) =>
        Object.fromEntries(
          Object.entries(all).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
        ),
      ),
    ),
    {},
  ),
  {},
);
const engine = v.object({ name: v.string(), version: v.optional(v.string()) });

/** Programs of a package: one file, or files by name. */
const bin = v.fallback(v.optional(v.union([v.string(), v.record(v.string(), v.string())])), undefined);

/** Fields of package.json that Sluice reads. */
const manifestSchema = v.object({
  name: v.fallback(v.optional(v.string()), undefined),
  main: v.fallback(v.optional(v.string()), undefined),
  bin,
  scripts: names,
  dependencies: names,
  optionalDependencies: names,
  devDependencies: names,
  peerDependencies: names,
  workspaces: v.optional(v.unknown()),
  packageManager: v.fallback(v.optional(v.string()), undefined),
  // Old packages have a list here, which npm ignores.
  engines: v.fallback(v.optional(v.object({ node: v.optional(v.string()) })), undefined),
  devEngines: v.optional(
    v.object({
      packageManager: v.optional(v.union([engine, v.array(engine)])),
      runtime: v.fallback(v.optional(v.union([engine, v.array(engine)])), undefined),
    }),
  ),
  volta: v.fallback(v.optional(v.object({ node: v.optional(v.string()) })), undefined),
});

/** Scripts of an app that an install runs. */
export const installScripts = ['preinstall', 'install', 'postinstall', 'prepare'];

/** Scripts of an app that build it unless its settings name another: the first that exists. */
export const defaultBuildScripts = ['heroku-postbuild', 'build'];

export type Manifest = v.InferOutput<typeof manifestSchema>;

/** Returns the names of all packages that a package depends on. */
export function namesOfDependencies(manifest: Manifest): string[] {
  const { dependencies, optionalDependencies, devDependencies, peerDependencies } = manifest;
  return Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies, ...peerDependencies });
}

/** Manifest of a workspace that has no package.json of its own. */
export const emptyManifest: Manifest = v.parse(manifestSchema, {});

/**
 * Returns the package.json of a directory; undefined if it does not exist.
 * @param below path of the package inside the directory
 * @throws AppError `invalid_settings`
 */
export async function readManifest(directory: string, below = ''): Promise<Manifest | undefined> {
  const name = join(below, 'package.json');
  const content = await readJsonSettings(join(directory, name), name, directory);
  return content === undefined ? undefined : parseSettings(manifestSchema, content, name);
}

/** Fields of an installed package. Ignores invalid values, because npm has accepted the package. */
const installedSchema = v.object({
  main: v.fallback(v.optional(v.string()), undefined),
  bin,
});

type InstalledManifest = v.InferOutput<typeof installedSchema>;

/**
 * Returns the package.json of a directory inside the app. Returns undefined if it does not exist or is outside the app: npm links
 * packages from other directories of the machine.
 * @throws AppError `invalid_settings` if it is not a JSON object
 */
export async function readInstalledManifest(
  app: string,
  directory: string,
): Promise<InstalledManifest | undefined> {
  const path = join(app, directory, 'package.json');
  const content = await readJsonSettings(path, path, app).catch((error: unknown) => {
    if (!(error instanceof AppError && error.cause instanceof PointsOutside)) throw error;
  });
  return content === undefined ? undefined : parseSettings(installedSchema, content, path);
}

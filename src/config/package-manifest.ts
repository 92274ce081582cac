import { join } from 'node:path';
import * as v from 'valibot';
import { AppError } from '../errors/app-error.ts';
import { LeadsOut } from '../system/fs/read-file.ts';
import { parseSettings, readJsonSettings } from './settings-file.ts';

/** Texts by name. Values of other types, such as a list used as a comment, are ignored, as npm does. */
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

/** What we read of package.json; the rest is nobody's business but the app's. */
const manifestSchema = v.object({
  main: v.fallback(v.optional(v.string()), undefined),
  scripts: names,
  dependencies: names,
  optionalDependencies: names,
  devDependencies: names,
  peerDependencies: names,
  workspaces: v.optional(v.unknown()),
  packageManager: v.fallback(v.optional(v.string()), undefined),
  // Old packages have a list here, and npm does not mind.
  engines: v.fallback(v.optional(v.object({ node: v.optional(v.string()) })), undefined),
  devEngines: v.optional(v.object({ packageManager: v.optional(v.union([engine, v.array(engine)])) })),
});

/** Scripts of an app that its own install runs. */
export const installScripts = ['preinstall', 'install', 'postinstall', 'prepare'];

export type Manifest = v.InferOutput<typeof manifestSchema>;

/**
 * The package.json of a directory, or undefined where there is none.
 * @throws AppError `invalid_settings`
 */
export async function readManifest(directory: string): Promise<Manifest | undefined> {
  const content = await readJsonSettings(join(directory, 'package.json'), 'package.json', directory);
  return content === undefined ? undefined : parseSettings(manifestSchema, content, 'package.json');
}

/** Of packages that others have written and npm has accepted, what we cannot make sense of is left out. */
const installedSchema = v.object({
  main: v.fallback(v.optional(v.string()), undefined),
  bin: v.fallback(v.optional(v.union([v.string(), v.record(v.string(), v.string())])), undefined),
});

type InstalledManifest = v.InferOutput<typeof installedSchema>;

/**
 * The package.json of a directory inside the app, or undefined where there is none, or it is elsewhere: npm links what
 * comes from a directory of the machine.
 * @throws AppError `invalid_settings` where it is no JSON object
 */
export async function readInstalledManifest(
  app: string,
  directory: string,
): Promise<InstalledManifest | undefined> {
  const path = join(app, directory, 'package.json');
  const content = await readJsonSettings(path, path, app).catch((error: unknown) => {
    if (!(error instanceof AppError && error.cause instanceof LeadsOut)) throw error;
  });
  return content === undefined ? undefined : parseSettings(installedSchema, content, path);
}

import { posix } from 'node:path';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import { ownScripts } from './install-scripts.ts';
import { runQuietly } from './shell.ts';

/** Caches that depend on the content of files only, relative to an install and to a member. */
const ofContent = ['.turbo/cache', 'node_modules/.cache/turbo'];

/**
 * Caches of tools that take a package for unchanged if its version is unchanged. Entries hold the absolute paths of files, which are
 * the same in each build. `.next/cache` as a whole has data of the app, too.
 */
const ofPackages = [
  'node_modules/.cache/webpack',
  'node_modules/.cache/babel-loader',
  'node_modules/.cache/terser-webpack-plugin',
  '.next/cache/webpack',
  // Key of server actions. A build with another key finds nothing in the cache of webpack.
  '.next/cache/.rscinfo',
  '.next/cache/.tsbuildinfo',
  '.angular/cache',
  // Nx finds entries of the first directory in a database in the second one.
  '.nx/cache',
  '.nx/workspace-data',
];

/** Largest number of members whose caches are kept. */
const maxMembers = 100;

/** Command of an install script of the app that changes no packages, or changes them as files say that the install depends on. */
const harmless =
  /^(?:npx )?(?:husky(?: install)?|patch-package|prisma generate|next telemetry disable|nuxt prepare|true|exit 0)$/;

/** Returns the paths of the caches that a build takes over from the build before, relative to the tree. */
export function cachePaths({ at, members, manifest, packageManager: { manager } }: BuildPlan): string[] {
  const own = ownScripts(manager).flatMap((name) => manifest.scripts[name] ?? []);
  const changesNone = (script: string) =>
    script.split(/\s*(?:\|\||&&)\s*/).every((part) => harmless.test(part.trim()));
  const caches = [...ofContent, ...(own.every(changesNone) ? ofPackages : [])];
  const places = ['', ...(members ?? []).slice(0, maxMembers).map(({ directory }) => directory)];
  return places.flatMap((place) => caches.map((cache) => posix.join(at, place, cache)));
}

/**
 * Shell command that prints a digest of the files with settings right inside directories: dotfiles, JSON files, and files such as
 * webpack.prod.js and next.config.mjs. Arguments: the directories.
 */
const settingsCommand = `
for directory; do
  [ -d "$directory" ] || continue
  find "$directory" -maxdepth 1 -type f \\( -name '.*' -o -name '*.json' -o -name '*.config.*' -o -name '*config*.*js' -o -name 'webpack*' \\) -exec sha256sum -- {} +
done | LC_ALL=C sort | sha256sum`;

/** Returns a digest of the settings of build tools, whose change some tools do not notice in their caches. */
export async function settingsOfTools(context: BuildContext, { at, members }: BuildPlan): Promise<string> {
  const places = ['', ...(members ?? []).map(({ directory }) => directory)];
  const app = context.app ?? context.settings.directory ?? '';
  const directories = new Set(['.', ...places.map((place) => posix.join(at, place)), posix.join(app)]);
  const { code, output } = await runQuietly(context, context.directory, settingsCommand, [...directories]);
  if (code !== 0) throw new Error(`settings of build tools were not read (${code}): ${output}`);
  return output;
}

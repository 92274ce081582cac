import * as v from 'valibot';
import { fingerprint } from '../../releases/fingerprints.ts';
import { writeJsonAtomic } from '../../system/fs/files.ts';
import { formatBytes } from '../../system/text/format.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import { cachePaths, settingsOfTools } from './cache-paths.ts';
import type { Facts } from './facts.ts';
import { changedFacts } from './kept-packages.ts';
import { fingerprintsSchema, type KeptStore, readRecord } from './kept-store.ts';
import { runQuietly } from './shell.ts';

/** Largest caches of one environment, in bytes. */
const maxBytes = 2 * 1024 ** 3;

const keptSchema = v.object({
  release: v.number(),
  fingerprints: fingerprintsSchema,
  /** relative to the tree */
  paths: v.array(v.string()),
  bytes: v.number(),
});

/** Caches that an environment keeps for its next build. */
export type KeptCaches = v.InferOutput<typeof keptSchema>;

/** Returns the caches that an environment keeps; undefined if there are none. */
export function readKeptCaches(store: Pick<KeptStore, 'record'>): Promise<KeptCaches | undefined> {
  return readRecord(store, keptSchema);
}

/**
 * Shell command that copies caches to paths where nothing is. Prints `new PATH` for each path where nothing was, and `copied PATH` for
 * each copy. Arguments: the store, the number of caches to copy, and the paths.
 */
const restoreCommand = `
store=$1 count=$2; shift 2
number=0
for path; do
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then
    printf 'new %s\\n' "$path"
    if [ "$number" -lt "$count" ] && [ -e "$store/$number" ]; then
      mkdir -p -- "$(dirname -- "$path")" && cp -a --reflink=auto -- "$store/$number" "$path" && printf 'copied %s\\n' "$path" || { rm -rf -- "$path"; exit 6; }
    fi
  fi
  number=$((number + 1))
done`;

/**
 * Shell command that moves caches to a store, and prints their size in KiB. The release keeps a cache that is a single file: Next.js reads
 * its key from there. Arguments: the store, the limit in KiB, and the paths; an empty path leaves out its number.
 */
const keepCommand = `
umask 077
store=$1 limit=$2; shift 2
rm -rf -- "$store" "$store.new"
mkdir -p -- "$store.new" || exit 6
number=0 size=0
for path; do
  if [ -e "$path" ] && [ ! -L "$path" ]; then
    add=$(du -sk -- "$path" | cut -f1)
    if [ $((size + add)) -le "$limit" ]; then
      size=$((size + add))
      if [ -d "$path" ]; then mv -- "$path" "$store.new/$number"; else cp -a -- "$path" "$store.new/$number"; fi || { rm -rf -- "$store.new"; exit 6; }
    fi
  fi
  number=$((number + 1))
done
mv -- "$store.new" "$store" && printf '%s\\n' "$size"`;

/**
 * Brings the caches of the last build into a release, if all that its install depended on is unchanged, and the settings of build tools.
 * @param facts about the install
 * @returns keeps the caches for the next build
 */
export async function takeCaches(
  context: BuildContext,
  plan: BuildPlan,
  facts: Facts,
): Promise<() => Promise<void>> {
  const { cacheStore: store, directory: tree } = context;
  if (store === undefined) return async () => undefined;
  const paths = cachePaths(plan);
  const settings = await settingsOfTools(context, plan);
  const all = { ...facts, ' paths': paths.join('\n'), ' settings': settings };
  const shell = (command: string, args: string[]) => runQuietly(context, tree, command, args);
  const before = store.isIgnored ? undefined : await readKeptCaches(store);
  const isUsable = before !== undefined && changedFacts(before, all).length === 0;
  const { code, output } = await shell(restoreCommand, [
    store.directory,
    String(isUsable ? paths.length : 0),
    ...paths,
  ]);
  if (code !== 0) throw new Error(`caches of the build were not copied (${code}): ${output}`);
  const named = (what: string) => paths.filter((path) => output.split('\n').includes(`${what} ${path}`));
  const [fresh, copied] = [named('new'), named('copied')];
  if (copied.length > 0)
    context.log(`caches of the build as in release ${before?.release}: ${copied.join(', ')}`);

  return async () => {
    // Without a record, nothing uses the files that are replaced.
    await writeJsonAtomic(store.record, {});
    const limit = String(Math.floor(Math.min(maxBytes, await store.space()) / 1024));
    // A path that the upload has belongs to the release.
    const own = paths.map((path) => (fresh.includes(path) ? path : ''));
    const { code, output } = await shell(keepCommand, [store.directory, limit, ...own]);
    if (code !== 0) {
      context.log(`the caches of the build are not kept: ${output.trim()}`);
      return;
    }
    const bytes = Number.parseInt(output, 10) * 1024;
    if (bytes === 0) return;
    context.log(`keeps ${formatBytes(bytes)} of caches for the next build`);
    const { release } = store;
    await writeJsonAtomic(store.record, { release, fingerprints: fingerprint(all), paths, bytes });
  };
}

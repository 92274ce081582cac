import { join, posix } from 'node:path';
import * as v from 'valibot';
import { AppError } from '../../errors/app-error.ts';
import { fingerprint } from '../../releases/fingerprints.ts';
import { readJson, writeJsonAtomic } from '../../system/fs/files.ts';
import { readAppTextIfAny } from '../../system/fs/read-file.ts';
import { formatBytes } from '../../system/text/format.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import type { PreparedManager } from '../install/prepare.ts';
import { runQuietly } from './shell.ts';

/** Cache of a build tool. */
interface Cache {
  /** relative to the directory of the app, of the install or of a member */
  path: string;
  /** true if nothing reads the cache at run time: then the release does not keep it */
  isOnlyForBuilds: boolean;
}

/**
 * Caches that a build takes over from the build before. Not among them: caches of data, such as `.next/cache/fetch-cache`, and
 * `*.tsbuildinfo`. With a tsbuildinfo and without the output that it describes, `tsc` writes nothing.
 */
const caches: Cache[] = [
  ...['webpack', 'swc', 'eslint', 'turbopack', '.tsbuildinfo'].map((name) => ofBuilds(`.next/cache/${name}`)),
  ...['.turbo', '.nx/cache', '.angular/cache', '.parcel-cache', '.rpt2_cache', '.vite'].map(ofBuilds),
  ...['.cache', '.vite', '.astro'].map((name) => ({ path: `node_modules/${name}`, isOnlyForBuilds: false })),
];

function ofBuilds(path: string): Cache {
  return { path, isOnlyForBuilds: true };
}

/** Largest caches of one environment, in bytes. */
const maxBytes = 2 * 1024 ** 3;

const maxLockfile = 64 * 1024 ** 2;

/** Place of the caches of builds of one environment. */
export interface CacheStore {
  /** file of the server about the caches; absolute */
  record: string;
  /** directory of the caches, which the user of the app writes; absolute, may not exist yet */
  directory: string;
  /** number of the release that is built */
  release: number;
  /** true to build without the caches, and to keep the new ones */
  isIgnored: boolean;
}

const keptSchema = v.object({
  release: v.number(),
  fingerprints: v.object({ key: v.string(), of: v.record(v.string(), v.string()) }),
  /** relative to the tree */
  paths: v.array(v.string()),
  bytes: v.number(),
});

/** Caches that an environment keeps for its next build. */
export type KeptCaches = v.InferOutput<typeof keptSchema>;

/** Returns the caches that an environment keeps; undefined if there are none. A damaged record counts as none. */
export async function readKeptCaches({
  record,
}: Pick<CacheStore, 'record'>): Promise<KeptCaches | undefined> {
  const value = await readJson(record).catch((error: unknown) => {
    if (!(error instanceof Error && error.cause instanceof SyntaxError)) throw error;
  });
  const parsed = v.safeParse(keptSchema, value);
  return parsed.success ? parsed.output : undefined;
}

/** Shell command that copies caches to paths where nothing is. Prints each path. Arguments: the store, and the paths. */
const restoreCommand = `
store=$1; shift
number=0
for path; do
  if [ -e "$store/$number" ] && [ ! -e "$path" ] && [ ! -L "$path" ]; then
    mkdir -p -- "$(dirname -- "$path")" && cp -a --reflink=auto -- "$store/$number" "$path" && printf '%s\\n' "$path"
  fi
  number=$((number + 1))
done
true`;

/**
 * Shell command that keeps caches, and prints their size in KiB. Arguments: the store, the limit in KiB, and pairs of \`mv\` or \`cp\`
 * and a path. Leaves out files of TypeScript about its own output.
 */
const keepCommand = `
umask 077
store=$1 limit=$2; shift 2
rm -rf -- "$store" "$store.new"
mkdir -p -- "$store.new" || exit 6
number=0 size=0
while [ $# -gt 0 ]; do
  if [ -e "$2" ] && [ ! -L "$2" ]; then
    add=$(du -sk -- "$2" | cut -f1)
    if [ $((size + add)) -le "$limit" ]; then
      size=$((size + add))
      case $1 in
        mv) mv -- "$2" "$store.new/$number" ;;
        cp) cp -a --reflink=auto -- "$2" "$store.new/$number" ;;
      esac || { rm -rf -- "$store.new"; exit 6; }
    fi
  fi
  number=$((number + 1))
  shift 2
done
for cache in "$store.new"/*; do
  [ -d "$cache" ] || continue
  find "$cache" -type f -name '*.tsbuildinfo*' -delete
  find "$cache" -type f -name '*.json' -exec grep -lZE -m 1 '^\\{ *"(program|fileNames|fileInfos|root)"' {} + | xargs -0 -r rm -f --
done
mv -- "$store.new" "$store" && printf '%s\\n' "$size"`;

const removeCommand = 'rm -rf -- "$@"';

/** Caches of one build. */
export interface BuildCaches {
  /**
   * Runs the scripts of the build. If they fail with caches of an earlier build, removes the caches and runs the scripts once more.
   * @throws as `scripts`
   */
  run(scripts: () => Promise<void>): Promise<void>;
  /** Keeps the caches for the next build. */
  keep(): Promise<void>;
}

/** Brings the caches of the last build into a release, if lockfile, package manager, Node.js and variables are the same. */
export async function takeCaches(
  context: BuildContext,
  plan: BuildPlan,
  manager: PreparedManager,
): Promise<BuildCaches> {
  const { cacheStore: store, directory: tree, settings, app = '', about, nodeVersion } = context;
  if (store === undefined) return { run: (scripts) => scripts(), keep: async () => undefined };
  const members = (plan.members ?? []).map(({ directory }) => posix.join(plan.at, directory));
  const places = [...new Set([plan.at, settings.directory ?? '', app, ...members])];
  const all = places.flatMap((place) =>
    caches.map((each) => ({ ...each, path: posix.join(place, each.path) })),
  );
  const paths = all.map(({ path }) => path);
  const lockfile = plan.packageManager.lockfile?.name;
  const env = Object.entries(manager.commandEnv).filter(
    ([name]) => !Object.hasOwn(about, name) && name !== 'GIT_CEILING_DIRECTORIES',
  );
  const facts = {
    ...Object.fromEntries(env),
    ' node': nodeVersion,
    ' manager': `${manager.program} ${manager.version}`,
    ' lockfile': (lockfile && (await readAppTextIfAny(join(tree, plan.at), lockfile, maxLockfile))) ?? '',
    ' paths': paths.join('\n'),
  };
  const shell = (command: string, args: string[]) => runQuietly(context, tree, command, args);
  const restored = await restore();

  async function restore(): Promise<string[]> {
    const kept = store && !store.isIgnored ? await readKeptCaches(store) : undefined;
    if (kept === undefined || store === undefined) return [];
    const { key, of } = kept.fingerprints;
    const now = fingerprint(facts, key).of;
    if (Object.keys({ ...of, ...now }).some((name) => of[name] !== now[name])) return [];
    const { output } = await shell(restoreCommand, [store.directory, ...paths]);
    const found = output.split('\n').filter((path) => paths.includes(path));
    if (found.length > 0)
      context.log(`caches of the build as in release ${kept.release}: ${found.join(', ')}`);
    return found;
  }

  return {
    async run(scripts) {
      try {
        await scripts();
      } catch (error) {
        if (restored.length === 0 || !(error instanceof AppError && error.code === 'build_failed'))
          throw error;
        context.log(
          'The build failed with caches of an earlier build. Sluice removes them and builds once more.',
        );
        await shell(removeCommand, restored);
        await scripts();
      }
    },
    async keep() {
      if (store === undefined) return;
      const pairs = all.flatMap(({ path, isOnlyForBuilds }) => [isOnlyForBuilds ? 'mv' : 'cp', path]);
      const limit = String(maxBytes / 1024);
      const { code, output } = await shell(keepCommand, [store.directory, limit, ...pairs]);
      if (code !== 0) {
        context.log(`the caches of the build are not kept: ${output.trim()}`);
        return;
      }
      const bytes = Number.parseInt(output, 10) * 1024;
      if (bytes > 0) context.log(`keeps ${formatBytes(bytes)} of caches for the next build`);
      const { release } = store;
      await writeJsonAtomic(store.record, { release, fingerprints: fingerprint(facts), paths, bytes });
    },
  };
}

import { createHash } from 'node:crypto';
import { join, posix } from 'node:path';
import { installScripts, type Manifest } from '../../config/package-manifest.ts';
import { parentsOf } from '../../config/workspaces.ts';
import { hasCode } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { parseJson } from '../../system/fs/files.ts';
import { isMissing, NotAFile, readAppText } from '../../system/fs/read-file.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import type { PreparedManager } from '../install/prepare.ts';
import { factsCommand } from './commands.ts';
import { inseparable, runsPreinstallFirst } from './install-scripts.ts';
import { runQuietly } from './shell.ts';

/** Values that an install depends on, by a name for people such as `package-lock.json` or `the variable NPM_TOKEN`. */
export type Facts = Record<string, string>;

/** Reason why the packages of an app cannot be reused, for people. */
export class Doubt extends Error {}

/** Files with settings of package managers, in the directory of the install, in members and in the directories above. */
const settingsFiles =
  '.npmrc .yarnrc .yarnrc.yml .yarnrc.yaml .env.yarn pnpm-workspace.yaml .pnpmfile.cjs .pnpmfile.mjs pnpmfile.js .pnpmrc'.split(
    ' ',
  );

/** Directories with patches, plugins and releases of package managers, in the directory of the install and in members. */
const settingsDirectories = ['patches', '.yarn/patches', '.yarn/plugins', '.yarn/releases', '.yarn/versions'];

/** Limits of a lockfile, of another file, and of all files together, in characters. */
const [maxLockfile, maxFile, maxAll] = [32 * 1024 ** 2, 1024 ** 2, 64 * 1024 ** 2];

/** Variables that name the release, and so differ in each. */
const ofRelease = new Set(['GIT_CEILING_DIRECTORIES']);

/** Dependency on files beside the lockfile: `file:./lib`, `link:`, `./lib`. */
const local = /^(?:(?:file|link|portal|exec|git\+file):|\.{0,2}\/|~\/|\.\.?$)/;

/** Dependency on files beside the lockfile in any text, and settings by which pnpm copies packages from a member. */
const localInText =
  /["'\s](?:file|link|portal|exec|git\+file):|\binjected\b|injectWorkspacePackages|inject-workspace-packages/;

/** Value that is a path in the app, of a setting or of a version that an app replaces. */
const pathInText = /[:=]\s*["']?\.{1,2}\//;

/** Files of patches that a text names, and those that are facts. */
const [patches, knownPatches] = [/[^\s"'#:]+\.(?:patch|diff)\b/g, /^(?:~\/|\.\/)?(?:\.yarn\/)?patches\//];

/** Programs that settings name, and those that are facts. */
const [programs, knownPrograms] = [/[^\s"']+\.[cm]?js\b/g, /^\.yarn\/(?:plugins|releases)\//];

/** Setting that skips install scripts. Also a pattern of grep. */
const skipsScripts = /ignore[-_]?scripts|enable[-_]?scripts/i;

/** Place of the settings of a schema that a client of Prisma is generated from. */
const prismaSettings = ['prisma.config', '.config/prisma'].flatMap((name) =>
  ['ts', 'mts', 'cts', 'js', 'mjs', 'cjs'].map((type) => `${name}.${type}`),
);

/**
 * Lines of a schema of Prisma by which files are generated outside of node_modules: a path, or a generator that is not
 * `prisma-client-js`. A pattern of grep.
 */
const prismaOutput = [
  '^[[:space:]]*output[[:space:]]*=',
  'provider[[:space:]]*=[[:space:]]*"(prisma-([^c]|c[^l])|([^p"]|p[^r"])[^"]*[-/. ])',
].join('|');

/** Reasons of `factsCommand`, for people, by its exit status. */
const doubts: Record<number, string> = {
  8: 'the settings of the package manager outside of the app may skip install scripts',
  9: 'a directory with patches or settings has links',
  10: 'Prisma may generate files outside of node_modules',
};

/**
 * Returns what the install of an app depends on: its lockfile, manifests, settings and patches, the package manager, Node.js, the
 * operating system, and the variables.
 * @throws Doubt if the install may depend on anything else
 */
export async function installFacts(
  context: BuildContext,
  { at, manifest, members, packageManager: { manager, lockfile } }: BuildPlan,
  { program, version, install, commandEnv: env }: PreparedManager,
): Promise<Facts> {
  const { directory: tree, nodeVersion, about } = context;
  if (lockfile === null) throw new Doubt('there is no lockfile');
  if (manager === 'bun') throw new Doubt('Sluice reuses packages of npm, pnpm and yarn');
  if (env['FIREBASE_WEBAPP_CONFIG'] !== undefined) throw new Doubt('FIREBASE_WEBAPP_CONFIG may name a file');
  const facts: Facts = {};
  let left = maxAll;
  const add = async (path: string, limit = maxFile) => {
    const text = await textOf(tree, path, limit);
    left -= text?.length ?? 0;
    if (left < 0) throw new Doubt('the manifests and settings of the app are very large');
    if (text !== undefined) facts[path] = createHash('sha256').update(text).digest('hex');
    return text ?? '';
  };
  const own = [...inseparable, ...(runsPreinstallFirst(manager, version) ? ['preinstall'] : [])];
  checkManifests(manifest, members, own);
  const hasOwn = installScripts.some((name) => manifest.scripts[name] !== undefined);
  const check = (text: string) => {
    if (hasOwn && skipsScripts.test(text))
      throw new Doubt('the settings of the package manager may skip install scripts');
  };
  const places = placesOf({ at, members });
  for (const place of places) {
    await add(posix.join(place, lockfile.name), maxLockfile);
    await refuse(tree, posix.join(place, 'node_modules'), (path) => `${path} is a part of the upload`);
    await refuse(tree, posix.join(place, 'binding.gyp'), (path) => `the install compiles ${path}`);
    const path = posix.join(place, 'package.json');
    const doubt = doubtOfManifest(await add(path));
    if (doubt !== undefined) throw new Doubt(`${path} ${doubt}`);
  }
  for (const place of [...places, ...parentsOf(at).filter((each) => each !== at)])
    for (const name of settingsFiles) {
      const path = posix.join(place, name);
      const text = await add(path);
      check(text);
      const doubt = doubtOfSettings(name, text);
      if (doubt !== undefined) throw new Doubt(`${path} ${doubt}`);
    }
  check(Object.keys(env).join(' '));
  const directories = placesOf({ at: '', members }).flatMap((place) =>
    settingsDirectories.map((name) => posix.join(place, name)),
  );
  const pattern = hasOwn ? skipsScripts.source : '';
  const digests = await digestsOf(context, at, { settings: pattern, content: '', paths: directories });
  facts[program] = [version, ...install].join(' ');
  facts['Node.js'] = [nodeVersion, process.platform, process.arch].join(' ');
  for (const [name, value] of Object.entries(env))
    if (!ofRelease.has(name) && !Object.hasOwn(about, name))
      facts[`the variable ${name}`] = value.replaceAll(tree, '\0');
  return { ...facts, ...digests };
}

/** Returns the directories of the install and of its members, relative to the tree. */
function placesOf({ at, members }: Pick<BuildPlan, 'at' | 'members'>): string[] {
  return ['', ...(members ?? []).map(({ directory }) => directory)].map((each) => posix.join(at, each));
}

/**
 * Returns the files of an app that install scripts of packages read.
 * @param reads paths of files and directories, relative to the install and to each member
 * @throws Doubt if a script may read or write other files
 */
export async function factsOfReads(context: BuildContext, plan: BuildPlan, reads: string[]): Promise<Facts> {
  if (reads.length === 0) return {};
  const { directory: tree } = context;
  for (const place of placesOf(plan)) {
    const manifest = posix.join(place, 'package.json');
    if (/"prisma"\s*:\s*\{/.test((await textOf(tree, manifest, maxFile)) ?? ''))
      throw new Doubt(`${manifest} has settings of Prisma`);
    for (const name of prismaSettings)
      await refuse(tree, posix.join(place, name), (path) => `${path} has settings of Prisma`);
  }
  const paths = placesOf({ at: '', members: plan.members }).flatMap((place) =>
    reads.map((name) => posix.join(place, name)),
  );
  return digestsOf(context, plan.at, { settings: '', content: prismaOutput, paths });
}

/**
 * Returns digests of settings and of paths, relative to `at`. The user of the app reads them: it may change them meanwhile.
 * @throws Doubt as `doubts` says
 */
async function digestsOf(
  context: BuildContext,
  at: string,
  { settings, content, paths }: { settings: string; content: string; paths: string[] },
): Promise<Facts> {
  const args = [settings, content, ...paths];
  const { code, output } = await runQuietly(context, join(context.directory, at), factsCommand, args);
  if (code !== 0) throw new Doubt(doubts[code ?? 0] ?? 'what the install depends on cannot be read');
  const [outside = '', system = '', ...lines] = output.split('\n');
  return {
    'the configuration of the package manager outside of the app': outside,
    'the operating system': system,
    ...Object.fromEntries(
      lines.filter(Boolean).map((line) => [posix.join(at, line.slice(65)), line.slice(0, 64)]),
    ),
  };
}

/** Returns why an install may read files that a package.json names, for people. */
export function doubtOfManifest(text: string): string | undefined {
  if (localInText.test(text)) return 'names a package by its directory';
  const { resolutions, overrides, pnpm } = fieldsOf(text);
  if (
    pathInText.test(
      JSON.stringify({ resolutions, overrides, pnpm: fieldsOf(JSON.stringify(pnpm ?? {}))['overrides'] }),
    )
  )
    return 'names a package by its directory';
  return doubtOfPatches(text);
}

/** Returns why an install may read files that a file with settings names, for people. */
export function doubtOfSettings(name: string, text: string): string | undefined {
  if (localInText.test(text)) return 'names a package by its directory';
  if (name.includes('pnpmfile') && /\brequire\b|\bimport\b|\bgetBuiltinModule\b/.test(text))
    return 'may read any file';
  const isKnown = (path: string) => knownPrograms.test(path);
  if (!name.includes('pnpmfile') && !(text.match(programs) ?? []).every(isKnown)) return 'names a program';
  return doubtOfPatches(text) ?? (pathInText.test(text) ? 'names a file of the app' : undefined);
}

function doubtOfPatches(text: string): string | undefined {
  const named = text.match(patches) ?? [];
  const isHidden = /patchedDependencies|["']patch:/.test(text) && named.length === 0;
  return isHidden || !named.every((path) => knownPatches.test(path))
    ? 'names a patch outside of patches'
    : undefined;
}

function fieldsOf(text: string): Partial<Record<string, unknown>> {
  try {
    return { ...(parseJson(text) as object) };
  } catch (error) {
    if (error instanceof SyntaxError) throw new Doubt('package.json cannot be read');
    throw error;
  }
}

/** @throws Doubt if a path exists, or if that is unknown */
async function refuse(tree: string, path: string, reason: (path: string) => string): Promise<void> {
  const found = await exists(join(tree, path)).catch((error: unknown) => {
    if (isMissing(error)) return true;
    throw error;
  });
  if (found) throw new Doubt(reason(path));
}

/**
 * @param own scripts that Sluice cannot run beside the install
 * @throws Doubt if the manifests of the app need more of an install than packages and the scripts that Sluice runs
 */
function checkManifests(manifest: Manifest, members: BuildPlan['members'], own: string[]): void {
  const found = own.find((name) => manifest.scripts[name] !== undefined);
  if (found !== undefined) throw new Doubt(`package.json has the script "${found}"`);
  for (const { directory, manifest: of } of members ?? []) {
    const script = [...installScripts, ...inseparable].find((name) => of.scripts[name] !== undefined);
    if (script !== undefined) throw new Doubt(`${directory}/package.json has the script "${script}"`);
    if (of.bin !== undefined) throw new Doubt(`${directory} has programs`);
  }
  for (const { dependencies, devDependencies, optionalDependencies, peerDependencies } of [
    manifest,
    ...(members ?? []).map((member) => member.manifest),
  ])
    for (const [name, wanted] of Object.entries({
      ...{ ...dependencies, ...devDependencies },
      ...{ ...optionalDependencies, ...peerDependencies },
    }))
      if (local.test(wanted)) throw new Doubt(`${name} is a directory or a file of the app`);
}

/** Returns the text of a file; undefined if it does not exist. @throws Doubt if it cannot be read */
async function textOf(tree: string, path: string, limit: number): Promise<string | undefined> {
  try {
    return await readAppText(join(tree, path), tree, limit);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (isMissing(error) || error instanceof NotAFile) throw new Doubt(`${path} cannot be read`);
    throw error;
  }
}

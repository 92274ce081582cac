import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { installScripts, type Manifest } from '../../config/package-manifest.ts';
import { parentsOf } from '../../config/workspaces.ts';
import { hasCode } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { isMissing, NotAFile, readAppText } from '../../system/fs/read-file.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import type { PreparedManager } from '../install/prepare.ts';
import { inseparable } from './install-scripts.ts';

/** Values that an install depends on, by a name for people such as `package-lock.json` or `the variable NPM_TOKEN`. */
export type Facts = Record<string, string>;

/** Reason why the packages of an app cannot be reused, for people. */
export class Doubt extends Error {}

/** Files with settings of package managers, in the directory of the install, in members and in the directories above. */
const settingsFiles =
  '.npmrc .yarnrc .yarnrc.yml .yarnrc.yaml bunfig.toml .bunfig.toml pnpm-workspace.yaml .pnpmfile.cjs .pnpmfile.mjs pnpmfile.js .pnpmrc'.split(
    ' ',
  );

/** Directories with patches, plugins and releases of package managers. */
const settingsDirectories = ['patches', '.yarn/patches', '.yarn/plugins', '.yarn/releases', '.yarn/versions'];

const maxFileBytes = 64 * 1024 ** 2;

/** Limits of a directory of settings. */
const [maxFiles, maxDirectoryBytes, maxDepth] = [500, 32 * 1024 ** 2, 6];

/** Variables that name the release, and so differ in each. */
const ofRelease = new Set(['GIT_CEILING_DIRECTORIES']);

/** Dependency on files beside the lockfile: `file:./lib`, `link:`, `./lib`. */
const local = /^(?:(?:file|link|portal|exec|git\+file):|\.{0,2}\/|~\/|\.\.?$)/;

/** The same in any text, and packages that pnpm copies from a member. */
const localInText =
  /["'\s](?:file|link|portal|exec|git\+file):|\binjected\b|injectWorkspacePackages|inject-workspace-packages/;

/** Setting that skips install scripts. */
const skipsScripts = /ignore[-_]?scripts|enable[-_]?scripts/i;

/**
 * Returns what the install of an app depends on: its lockfile, manifests, settings and patches, the package manager, Node.js, and the
 * variables.
 * @throws Doubt if the install may depend on anything else
 */
export async function installFacts(
  { directory: tree, nodeVersion, about }: Pick<BuildContext, 'directory' | 'nodeVersion' | 'about'>,
  { at, manifest, members, packageManager: { lockfile } }: BuildPlan,
  { program, version, install, commandEnv: env }: PreparedManager,
): Promise<Facts> {
  if (lockfile === null) throw new Doubt('there is no lockfile');
  const facts: Facts = {};
  const places = placesOf({ at, members });
  const add = async (path: string) => {
    const text = await textOf(tree, path);
    if (text !== undefined) facts[path] = text;
    return text ?? '';
  };
  await add(posix.join(at, lockfile.name));
  for (const place of places) {
    if (await exists(join(tree, place, 'node_modules')))
      throw new Doubt(`${posix.join(place, 'node_modules')} is a part of the upload`);
    if (await exists(join(tree, place, 'binding.gyp')))
      throw new Doubt(`the install compiles ${posix.join(place, 'binding.gyp')}`);
    const path = posix.join(place, 'package.json');
    if (localInText.test(await add(path))) throw new Doubt(`${path} names a package by its directory`);
  }
  const above = parentsOf(at).filter((each) => each !== at);
  let settings = '';
  for (const place of [...places, ...above])
    for (const name of settingsFiles) settings += await add(posix.join(place, name));
  if (localInText.test(settings))
    throw new Doubt('the settings of the package manager name a package by its directory');
  for (const name of settingsDirectories) await addDirectory(facts, tree, posix.join(at, name));
  checkManifests(manifest, members, settings + Object.keys(env).join(' '));
  facts[program] = [version, ...install].join(' ');
  facts['Node.js'] = [nodeVersion, process.platform, process.arch].join(' ');
  for (const [name, value] of Object.entries(env))
    if (!ofRelease.has(name) && !Object.hasOwn(about, name)) facts[`the variable ${name}`] = value;
  return facts;
}

/** Returns the directories of the install and of its members, relative to the tree. */
function placesOf({ at, members }: Pick<BuildPlan, 'at' | 'members'>): string[] {
  return ['', ...(members ?? []).map(({ directory }) => directory)].map((each) => posix.join(at, each));
}

/**
 * Returns the files of an app that install scripts of packages read.
 * @param reads paths of files and directories, relative to the install and to each member
 * @throws Doubt if a script may read other files
 */
export async function factsOfReads(tree: string, plan: BuildPlan, reads: string[]): Promise<Facts> {
  const facts: Facts = {};
  for (const place of reads.length === 0 ? [] : placesOf(plan)) {
    const manifest = posix.join(place, 'package.json');
    if (/"prisma"\s*:\s*\{/.test((await textOf(tree, manifest)) ?? ''))
      throw new Doubt(`${manifest} has settings of Prisma`);
    for (const name of reads) await addAny(facts, tree, posix.join(place, name));
  }
  return facts;
}

/** @throws Doubt if the manifests of the app need more of an install than packages and the scripts that Sluice runs */
function checkManifests(manifest: Manifest, members: BuildPlan['members'], settings: string): void {
  const own = inseparable.find((name) => manifest.scripts[name] !== undefined);
  if (own !== undefined) throw new Doubt(`package.json has the script "${own}"`);
  if (installScripts.some((name) => manifest.scripts[name] !== undefined) && skipsScripts.test(settings))
    throw new Doubt('the settings of the package manager may skip install scripts');
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
async function textOf(tree: string, path: string): Promise<string | undefined> {
  try {
    return await readAppText(join(tree, path), tree, maxFileBytes);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (isMissing(error) || error instanceof NotAFile) throw new Doubt(`${path} cannot be read`);
    throw error;
  }
}

async function addAny(facts: Facts, tree: string, path: string): Promise<void> {
  if (await addDirectory(facts, tree, path)) return;
  const text = await textOf(tree, path);
  if (text !== undefined) facts[path] = text;
}

/**
 * Adds a hash of all files in a directory. Returns false if the path is no directory.
 * @throws Doubt if the directory is large or has links
 */
async function addDirectory(facts: Facts, tree: string, path: string): Promise<boolean> {
  const hash = createHash('sha256');
  const budget = { files: maxFiles, bytes: maxDirectoryBytes };
  const walk = async (at: string, depth: number): Promise<boolean> => {
    const entries = await readdir(join(tree, at), { withFileTypes: true }).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    });
    if (entries === undefined) return false;
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const below = posix.join(at, entry.name);
      budget.files -= 1;
      if (entry.isDirectory() && budget.files >= 0) {
        if (depth === maxDepth) throw new Doubt(`${path} is deep`);
        await walk(below, depth + 1);
        continue;
      }
      const text = entry.isFile() ? await textOf(tree, below) : undefined;
      budget.bytes -= text?.length ?? 0;
      if (text === undefined || budget.files < 0 || budget.bytes < 0)
        throw new Doubt(`${path} is large or has links`);
      hash.update(`${below}\0${text.length}\0${text}`);
    }
    return true;
  };
  if (!(await walk(path, 0))) return false;
  facts[path] = hash.digest('hex');
  return true;
}

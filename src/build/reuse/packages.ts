import { createHash } from 'node:crypto';
import { join, posix } from 'node:path';
import { installScripts } from '../../config/package-manifest.ts';
import type { Notice } from '../../protocol/runner.ts';
import { fingerprint } from '../../releases/fingerprints.ts';
import { parseJson } from '../../system/fs/files.ts';
import { isMissing, NotAFile, readAppText } from '../../system/fs/read-file.ts';
import type { BuildPlan } from '../build-plan.ts';
import type { BuildContext } from '../context.ts';
import { skippedScripts } from '../install/install-output.ts';
import type { PreparedManager } from '../install/prepare.ts';
import {
  hideScriptsCommand,
  keepCommand,
  removeCommand,
  removeRestoredCommand,
  restoreCommand,
  scriptedCommand,
  showScriptsCommand,
} from './commands.ts';
import { Doubt, type Facts, factsOfReads, installFacts } from './facts.ts';
import { isInstalledManifest, ownScripts, pathsReadBy, type Scripted } from './install-scripts.ts';
import { changedFacts, describeChange, type Kept, readAllKept, writeKept } from './kept-packages.ts';
import type { KeptStore } from './kept-store.ts';
import { runQuietly } from './shell.ts';

/** Fact about the removal of dev dependencies, for people. */
const ofPrune = 'the set of dev dependencies that stay';

/** Largest package.json with install scripts that is read, in bytes, and the largest number of them. */
const [maxManifest, maxScripted] = [1024 ** 2, 500];

/** Longest package.json that an argument can hold: the system limits an argument to 128 KiB. */
const maxArgument = 100_000;

/** Files beside node_modules that a package manager needs to run scripts. */
const stateFiles = ['.yarn/install-state.gz', '.yarn/build-state.yml'];

/** Reasons of `restoreCommand`, for people, by its exit status. */
const refusals: Record<number, string> = {
  3: 'the kept packages have changed or are gone',
  5: 'a file is where packages belong',
};

/** An install, and how its packages are kept for the next deploy. */
interface Install {
  context: BuildContext;
  plan: BuildPlan;
  manager: PreparedManager;
  /** installs the packages; returns the last lines of the output */
  run: () => Promise<string[]>;
  /**
   * facts that decide which dev dependencies are removed, if only the install changes the packages before the removal: the
   * packages are then kept without dev dependencies. Undefined if other steps change the packages.
   */
  prune: string | undefined;
}

/** Packages that are in their place. */
export interface InstalledPackages {
  /** true if the dev dependencies are removed already */
  isPruned: boolean;
  /** what the install depended on; undefined if that is not certain */
  facts?: Facts;
  /** keeps the packages without dev dependencies, with the notices of their removal; undefined if there is nothing to keep */
  keepPruned?: (notices: Notice[]) => Promise<void>;
}

/**
 * Puts the packages of an app in their place: a copy of those of an earlier release if all that an install depends on is unchanged, and
 * else an install. No release shares a file with another one. Where the file system copies on write, a copy takes little space. The
 * scripts of the app itself always run.
 */
export async function installPackages(install: Install): Promise<InstalledPackages> {
  const { context, plan, manager, run } = install;
  const store = context.packageStore;
  const facts = store && (await factsOf(install, store));
  if (store === undefined || facts === undefined) {
    reportSkipped(context, await run());
    return { isPruned: false };
  }
  const own = scriptsOf(plan);
  if (await isReused(install, store, facts)) {
    await runOwn(manager, own);
    return { isPruned: install.prune !== undefined, facts };
  }
  const hides = own.length > 0;
  if (hides && !(await hideScripts(install))) {
    reportSkipped(context, await run());
    return { isPruned: false };
  }
  const output = await run().finally(() => (hides ? showScripts(install) : undefined));
  const notices = reportSkipped(context, output);
  const keep = (more: Notice[] = []) => keepPackages(install, store, facts, [...notices, ...more]);
  if (install.prune !== undefined) return { isPruned: false, facts, keepPruned: keep };
  await keep();
  await runOwn(manager, own);
  return { isPruned: false, facts };
}

/** Removes the packages that were kept for installs which the app does not have any more. @param used directories of its installs */
export async function removeUnusedPackages(context: BuildContext, used: string[]): Promise<void> {
  if (context.packageStore === undefined) return;
  for (const at of Object.keys(await readAllKept(context.packageStore)))
    if (!used.includes(at)) await removeKept(context, context.packageStore, at);
}

function reportSkipped(context: BuildContext, output: string[]): Notice[] {
  const notices = skippedScripts(output);
  for (const notice of notices) context.notice(notice);
  return notices;
}

/** Returns what the install depends on. If that is not certain, logs why, removes packages of an earlier release, and returns undefined. */
async function factsOf(
  { context, plan, manager, prune }: Install,
  store: KeptStore,
): Promise<Facts | undefined> {
  try {
    return { ...(await installFacts(context, plan, manager)), [ofPrune]: prune ?? '' };
  } catch (error) {
    if (!(error instanceof Doubt)) throw error;
    context.log(`packages are not kept for the next deploy: ${error.message}`);
    await removeKept(context, store, plan.at);
    return undefined;
  }
}

/** Returns the scripts of the app itself that run beside a reuse of its packages. */
function scriptsOf({ manifest, packageManager }: BuildPlan): string[] {
  return ownScripts(packageManager.manager).filter((name) => manifest.scripts[name] !== undefined);
}

async function runOwn({ run, script }: PreparedManager, names: string[]): Promise<void> {
  for (const name of names) await run('install', [...script, name]);
}

/** Copies the packages of an earlier release if nothing has changed. Logs what is reused, or why nothing is. */
async function isReused(install: Install, store: KeptStore, facts: Facts): Promise<boolean> {
  const { context, plan } = install;
  const { [plan.at]: kept } = await readAllKept(store);
  if (kept === undefined || store.isIgnored) return false;
  const changed = await changesSince(install, kept, facts);
  if (changed.length > 0) {
    context.log(`installs packages: ${describeChange(changed, kept.release)}`);
    return false;
  }
  const args = [placeOf(store, plan), kept.digest, ...kept.paths];
  const { code, output } = await shell(install, restoreCommand, args);
  if (code !== 0) {
    const refusal = refusals[code ?? 0];
    // A package manager takes a part of the packages for the whole.
    if (refusal === undefined) await removeRestored(install, kept.paths);
    context.log(`installs packages: ${refusal ?? `they could not be copied: ${output}`}`);
    return false;
  }
  const { lockfile } = plan.packageManager;
  context.log(
    `packages as in release ${kept.release}: ${posix.join(plan.at, lockfile?.name ?? '')} is unchanged`,
  );
  for (const notice of kept.notices) context.notice(notice);
  return true;
}

async function removeRestored(install: Install, paths: string[]): Promise<void> {
  const { code, output } = await shell(install, removeRestoredCommand, paths);
  if (code !== 0) throw new Error(`packages that were copied in part were not removed (${code}): ${output}`);
}

/** Returns the names of the facts that have changed since the packages were kept. */
async function changesSince({ context, plan }: Install, kept: Kept, facts: Facts): Promise<string[]> {
  try {
    const reads = await factsOfReads(context, plan, kept.reads);
    return changedFacts(kept, { ...facts, ...reads });
  } catch (error) {
    if (!(error instanceof Doubt)) throw error;
    return [error.message];
  }
}

/** Copies installed packages for the next deploy, unless an install script of a package may have read any file of the app. */
async function keepPackages(
  install: Install,
  store: KeptStore,
  facts: Facts,
  notices: Notice[],
): Promise<void> {
  const { context, plan } = install;
  try {
    const paths = pathsOf(plan);
    const reads = await readsOfScripts(install, paths);
    const all = { ...facts, ...(await factsOfReads(context, plan, reads)) };
    const space = Math.floor((await store.space()) / 1024);
    const { code, output } = await shell(install, keepCommand, [
      placeOf(store, plan),
      String(space),
      (plan.members ?? []).map(({ directory }) => directory).join('\n'),
      ...paths,
    ]);
    const [, digest = '', size = ''] = /^(\w{64})\n(\d+)\n$/.exec(output) ?? [];
    if (code === 9) throw new Doubt('the install has packages outside of node_modules of the app');
    if (code === 7) throw new Doubt('they take more than 4 GiB, or more than the free disk space');
    if (code !== 0 || digest === '') throw new Doubt(`they could not be copied: ${output.trim()}`);
    const { release } = store;
    const bytes = Number(size) * 1024;
    await writeKept(store, plan.at, {
      ...{ release, fingerprints: fingerprint(all), reads, paths, digest, bytes, notices },
    });
  } catch (error) {
    if (!(error instanceof Doubt)) throw error;
    context.log(`packages are not kept for the next deploy: ${error.message}`);
    await removeKept(context, store, plan.at);
  }
}

/** Returns the paths that hold installed packages, relative to the directory of the install. */
function pathsOf({ members, packageManager: { manager } }: BuildPlan): string[] {
  const directories = ['', ...(members ?? []).map(({ directory }) => directory)];
  return [
    ...directories.map((directory) => posix.join(directory, 'node_modules')),
    ...(manager === 'yarn-berry' ? stateFiles : []),
  ];
}

/**
 * Returns the files of the app that install scripts of its packages read.
 * @throws Doubt if Sluice does not know a script
 */
async function readsOfScripts(install: Install, paths: string[]): Promise<string[]> {
  const { context, plan } = install;
  const root = join(context.directory, plan.at);
  const { output } = await shell(install, scriptedCommand, paths);
  const files = output.split('\n').filter(isInstalledManifest);
  if (files.length > maxScripted) throw new Doubt('very many packages have install scripts');
  const reads = new Set<string>();
  for (const file of files) {
    const scripted = await readScripted(root, file);
    const read = scripted && pathsReadBy(scripted);
    if (scripted !== undefined && read === undefined)
      throw new Doubt(`the install script of ${scripted.name} may read files of the app`);
    for (const path of read ?? []) reads.add(path);
  }
  return [...reads];
}

/** Returns the install scripts of a package; undefined if it has none. @throws Doubt if its package.json cannot be read */
async function readScripted(root: string, file: string): Promise<Scripted | undefined> {
  try {
    const fields = parseJson(await readAppText(join(root, file), root, maxManifest)) as Partial<
      Record<string, unknown>
    >;
    const all = (fields?.['scripts'] ?? {}) as Record<string, unknown>;
    const scripts = ['preinstall', 'install', 'postinstall'].flatMap((name) => all[name] ?? []);
    if (scripts.length === 0) return undefined;
    return { name: String(fields['name']), scripts: scripts.map(String) };
  } catch (error) {
    // Packages contain broken files for their own tests, which no package manager reads.
    if (error instanceof SyntaxError) return undefined;
    if (error instanceof NotAFile || isMissing(error)) throw new Doubt(`${file} cannot be read`);
    throw error;
  }
}

/** Takes the scripts of the app itself out of its package.json. Returns false if that is not possible. */
async function hideScripts(install: Install): Promise<boolean> {
  const { directory } = install.context;
  const path = join(directory, install.plan.at);
  const manifest = parseJson(await readAppText(join(path, 'package.json'), path, maxManifest)) as Record<
    string,
    Record<string, unknown>
  >;
  const others = Object.entries(manifest['scripts'] ?? {}).filter(([name]) => !installScripts.includes(name));
  const text = JSON.stringify({ ...manifest, scripts: Object.fromEntries(others) }, null, 2);
  if (Buffer.byteLength(text) > maxArgument) return false;
  return (await shell(install, hideScriptsCommand, [text])).code === 0;
}

async function showScripts(install: Install): Promise<void> {
  if (install.context.signal.aborted) return;
  const { code, output } = await shell(install, showScriptsCommand, []);
  if (code !== 0) throw new Error(`package.json was not put back: ${output}`);
}

async function removeKept(context: BuildContext, store: KeptStore, at: string): Promise<void> {
  if ((await readAllKept(store))[at] === undefined) return;
  await writeKept(store, at, undefined);
  await runQuietly(context, context.directory, removeCommand, [placeOf(store, { at })]);
}

/** Returns the directory of the kept packages of an install. */
function placeOf({ directory }: KeptStore, { at }: Pick<BuildPlan, 'at'>): string {
  return join(directory, createHash('sha256').update(at).digest('hex').slice(0, 16));
}

/** Runs a shell command as the user of the app, in the directory of the install. */
function shell({ context, plan }: Install, command: string, args: string[]) {
  return runQuietly(context, join(context.directory, plan.at), command, args);
}

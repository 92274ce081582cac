import { lstat, readdir } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import { isMissing } from '../system/fs/read-file.ts';
import { type Manifest, readManifest } from './package-manifest.ts';
import { readSettingsText, unreadable } from './settings-file.ts';
import { expandBraces, matchesName, matchesPath, stepsFor } from './workspace-patterns.ts';

/** Package of a workspace, besides the one at its top. */
export interface Member {
  /** relative to the workspace, such as `apps/web` */
  directory: string;
  /** `name` in its package.json, or else its directory */
  name: string;
  manifest: Manifest;
}

/** Work that a search for members may still do, so that patterns of a hostile app end. */
interface Budget {
  /** entries of directories to look at; a call of the system counts ten times, and a long pattern more than once: see `stepsFor` */
  steps: number;
  manifestBytes: number;
}

const newBudget = (): Budget => ({ steps: 200_000, manifestBytes: 32 * 1024 ** 2 });

/**
 * Returns the members of the workspace at the top of a tree, sorted by directory: `workspaces` in package.json and `packages` in
 * pnpm-workspace.yaml. Returns none without a workspace. Follows no links.
 * @throws AppError `invalid_settings` if a file is invalid, or the patterns match very many directories
 */
export async function findMembers(tree: string): Promise<Member[]> {
  const budget = newBudget();
  const directories = await memberDirectories(tree, budget);
  const members: (Member | undefined)[] = [];
  for (let at = 0; at < directories.length; at += readAtATime) {
    const some = directories.slice(at, at + readAtATime);
    members.push(...(await Promise.all(some.map((directory) => readMember(tree, directory, budget)))));
  }
  return members.filter((member) => member !== undefined);
}

/** Number of files that are open at a time. */
const readAtATime = 32;

async function readMember(tree: string, directory: string, budget: Budget): Promise<Member | undefined> {
  budget.manifestBytes -= (await statsOf(join(tree, directory, 'package.json')))?.size ?? 0;
  if (budget.manifestBytes < 0) throw tooMuch('the package.json files of the members are too large');
  const manifest = await readManifest(tree, directory);
  return manifest && { directory, name: manifest.name ?? directory, manifest };
}

/** Returns true if a tree is a workspace: it names members, even if none exists. @throws AppError `invalid_settings` */
export async function isWorkspace(tree: string): Promise<boolean> {
  return (await patternsOf(tree)).length > 0;
}

/**
 * Returns the directory whose install provides the packages of `directory`: the workspace that has the package around `directory`
 * as a member, else that package. All paths are relative to `tree`; '' is the tree itself.
 * @throws AppError `invalid_settings`
 */
export async function installDirectory(tree: string, directory: string): Promise<string> {
  const above = parentsOf(directory);
  const isPackage = await Promise.all(above.map((path) => isFile(join(tree, path, 'package.json'))));
  const own = above[isPackage.indexOf(true)];
  return own === undefined ? '' : ((await workspaceOf(tree, own)) ?? own);
}

/**
 * Returns the directory of the workspace that has the package in `directory` as a member; undefined if there is none. All paths
 * are relative to `tree`; '' is the tree itself.
 * @throws AppError `invalid_settings`
 */
export async function workspaceOf(tree: string, directory: string): Promise<string | undefined> {
  const budget = newBudget();
  for (const workspace of parentsOf(directory).slice(1)) {
    const members = await memberDirectories(join(tree, workspace), budget);
    if (members.includes(posix.relative(workspace, directory))) return workspace;
  }
  return undefined;
}

/** Kinds of dependencies that a package has at run time. */
const atRunTime = ['dependencies', 'optionalDependencies', 'peerDependencies'] as const;
/** Kinds of dependencies that a package needs for its build. */
const atBuild = [...atRunTime, 'devDependencies'] as const;

/** Returns the members that a member depends on, directly or not: each before the members that depend on it. */
export function dependenciesAmong(
  members: Member[],
  { directory, manifest }: Pick<Member, 'directory' | 'manifest'>,
  time: 'run' | 'build' = 'run',
): Member[] {
  const named = new Map(members.map((member) => [member.name, member]));
  const found = new Set<Member>();
  // A loop, because a chain of dependencies may be as long as there are members.
  const open: { next: string[]; member?: Member }[] = [{ next: neighbours(manifest) }];
  const seen = new Set([directory]);
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const name = top.next.pop();
    const member = name === undefined ? undefined : named.get(name);
    if (name === undefined) {
      if (top.member !== undefined) found.add(top.member);
      open.pop();
    } else if (member !== undefined && !seen.has(member.directory)) {
      seen.add(member.directory);
      open.push({ next: neighbours(member.manifest), member });
    }
  }
  return [...found];

  function neighbours(of: Manifest): string[] {
    const kinds = time === 'run' ? atRunTime : atBuild;
    return kinds.flatMap((kind) => Object.keys(of[kind])).reverse();
  }
}

/**
 * Returns the packages whose code an app may run: the one around `directory`, the members of its workspace that it depends on, and
 * the ones above it, whose dependencies it can load, too. All paths are relative to `tree`; '' is the tree itself.
 * @throws AppError `invalid_settings`
 */
export async function packagesOf(
  tree: string,
  directory: string,
): Promise<Pick<Member, 'directory' | 'manifest'>[]> {
  const workspace = await installDirectory(tree, directory);
  const members = await findMembers(join(tree, workspace));
  const packages: Pick<Member, 'directory' | 'manifest'>[] = [];
  for (const path of parentsOf(directory)) {
    const manifest = await readManifest(tree, path);
    if (manifest === undefined) continue;
    const own = { directory: path, manifest };
    packages.push(own);
    if (packages.length > 1) continue;
    const needed = dependenciesAmong(members, { ...own, directory: posix.relative(workspace, path) });
    packages.push(
      ...needed.map((member) => ({ ...member, directory: posix.join(workspace, member.directory) })),
    );
  }
  return packages;
}

/** Returns a path and all paths above it, the nearest first; the last is ''. */
export function parentsOf(directory: string): string[] {
  const paths: string[] = [];
  for (let path = directory; path !== '' && path !== '.'; path = dirname(path)) paths.push(path);
  return [...paths, ''];
}

async function memberDirectories(tree: string, budget: Budget): Promise<string[]> {
  const patterns = await patternsOf(tree);
  const excluded = patterns
    .filter((pattern) => pattern.startsWith('!'))
    .map((pattern) => ({ pattern, segments: segmentsOf(pattern.slice(1)) }));
  const found = new Set<string>();
  for (const pattern of patterns) {
    if (pattern.startsWith('!')) continue;
    for await (const path of expand(tree, '', segmentsOf(pattern), budget)) {
      const names = path.split('/');
      if (path === '' || found.has(path)) continue;
      const steps = excluded.reduce((sum, { pattern }) => sum + stepsFor(pattern, path), perCall);
      spend(budget, steps);
      if (excluded.some(({ segments }) => matchesPath(segments, names))) continue;
      if (await isFile(join(tree, path, 'package.json'))) found.add(path);
    }
  }
  return [...found].sort();
}

/** Yields the directories below `tree` that match the segments of a pattern, below `path`. May yield one more than once. */
async function* expand(
  tree: string,
  path: string,
  [segment, ...rest]: string[],
  budget: Budget,
): AsyncGenerator<string> {
  if (segment === undefined) return yield path;
  if (!/[*?]/.test(segment)) {
    const below = posix.join(path, segment);
    spend(budget, perCall);
    if (segment !== '..' && segment !== 'node_modules' && (await isDirectory(join(tree, below))))
      yield* expand(tree, below, rest, budget);
    return;
  }
  const isDeep = segment === '**';
  if (isDeep) yield* expand(tree, path, rest, budget);
  const entries = await readdir(join(tree, path), { withFileTypes: true });
  spend(budget, perCall + entries.length);
  for (const entry of entries) {
    if (!entry.isDirectory() || entry.name === 'node_modules' || entry.name.startsWith('.')) continue;
    const below = posix.join(path, entry.name);
    if (isDeep) {
      yield* expand(tree, below, [segment, ...rest], budget);
      continue;
    }
    spend(budget, stepsFor(segment, entry.name) - 1);
    if (matchesName(segment, entry.name)) yield* expand(tree, below, rest, budget);
  }
}

const perCall = 10;

function spend(budget: Budget, steps: number): void {
  budget.steps -= steps;
  if (budget.steps < 0) throw tooMuch('its patterns match too many directories');
}

/** Limits of the patterns of a workspace: their number after `{a,b}` is expanded, and the characters of each. */
const [maxPatterns, maxPatternLength] = [200, 256];

/** Returns the patterns of members, as written but for `{a,b}`; an excluding pattern begins with `!`. */
async function patternsOf(tree: string): Promise<string[]> {
  const { workspaces } = (await readManifest(tree)) ?? {};
  const all = [...textsOf(workspaces), ...textsOf(await readPnpmWorkspace(tree))];
  if (all.some(({ length }) => length > maxPatternLength)) throw tooMuch('a pattern is too long');
  const patterns = all.slice(0, maxPatterns + 1).flatMap((pattern) => expandBraces(pattern, maxPatterns));
  if (patterns.length > maxPatterns) throw tooMuch(`it has more than ${maxPatterns} patterns`);
  return patterns;
}

/** Returns the texts of a list, or of the list in `packages` of an object; none for other values. */
function textsOf(value: unknown): string[] {
  const list = Array.isArray(value) ? value : (value as { packages?: unknown } | null | undefined)?.packages;
  return Array.isArray(list) ? list.filter((item) => typeof item === 'string') : [];
}

const pnpmFile = 'pnpm-workspace.yaml';

async function readPnpmWorkspace(tree: string): Promise<unknown> {
  const text = await readSettingsText(join(tree, pnpmFile), pnpmFile, tree);
  if (text === undefined) return undefined;
  try {
    // Loaded here to save memory and 8 ms: few apps have the file.
    const { load, FAILSAFE_SCHEMA } = await import('js-yaml');
    return load(text, { schema: FAILSAFE_SCHEMA });
  } catch (error) {
    if ((error as Error).name !== 'YAMLException') throw error;
    const [reason] = (error as Error).message.split('\n');
    throw unreadable(pnpmFile, `is not valid YAML: ${reason}`, error);
  }
}

/** Returns the segments of a pattern. */
function segmentsOf(pattern: string): string[] {
  const segments = pattern.split('/').filter((segment) => segment !== '.' && segment !== '');
  return segments.filter((segment, at) => segment !== '**' || segments[at - 1] !== '**');
}

async function isDirectory(path: string): Promise<boolean> {
  return (await statsOf(path))?.isDirectory() === true;
}

async function isFile(path: string): Promise<boolean> {
  return (await statsOf(path))?.isFile() === true;
}

async function statsOf(path: string) {
  return lstat(path).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

function tooMuch(why: string): AppError {
  return new AppError('invalid_settings', `the workspace cannot be searched: ${why}`, {
    hint: 'Name the directories of the members in "workspaces" or pnpm-workspace.yaml, as in "packages/*".',
  });
}

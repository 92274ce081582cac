import { join } from 'node:path';
import { type Manifest, namesOfDependencies } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';
import { NotAFile, readAppText } from '../../system/fs/read-file.ts';
import { formatBytes } from '../../system/text/format.ts';
import { matchesManifest } from './matching-lockfile.ts';
import { chooseVersion, type Family, type Manager } from './versions.ts';

/** Package manager of an app. */
export interface Detected {
  manager: Manager;
  /** exact, or a range from package.json */
  version: string;
  /** null if there is none: the install may then differ from the tested one */
  lockfile: { name: string; isOfNpm6: boolean } | null;
  notices: Notice[];
}

export interface Lockfile {
  name: string;
  content: string;
}

const lockfiles: [string, Family][] = [
  ['npm-shrinkwrap.json', 'npm'],
  ['package-lock.json', 'npm'],
  ['pnpm-lock.yaml', 'pnpm'],
  ['yarn.lock', 'yarn'],
  ['bun.lock', 'bun'],
  ['bun.lockb', 'bun'],
];

/**
 * Returns the package manager of the lockfile. If there are several lockfiles or none, returns the one that package.json names
 * in `packageManager` or `devEngines.packageManager`, or the one whose lockfile alone has the dependencies of package.json. The
 * version is the one named there, else the one of the lockfile format.
 * @param members manifests of the members of the workspace
 * @throws AppError `unsupported_package_manager`
 */
export async function detectPackageManager(
  directory: string,
  manifest: Manifest,
  members: Manifest[] = [],
): Promise<Detected> {
  const named = namedManager(manifest);
  const all = await findLockfiles(directory);
  // An app with a second lockfile for bun runs on Node.js with the first one.
  const others = named?.family === 'bun' ? [] : all.filter(([, family]) => family !== 'bun');
  const found = await withoutOutdated(directory, manifest, others.length > 0 ? others : all, named);
  const families = new Set(found.map(([, family]) => family));
  const isNamed = named !== undefined && (families.size === 0 || families.has(named.family));
  if (!isNamed && families.size > 1) {
    throw unsupported(
      `lockfiles of several package managers: ${found.map(([name]) => name).join(', ')}`,
      'Delete the lockfiles that are out of date, or name one package manager in "packageManager" of package.json.',
    );
  }
  const family = isNamed ? named.family : (found[0]?.[1] ?? 'npm');
  const [name] = found.find(([, of]) => of === family) ?? [];
  const lockfile = name === undefined ? null : await readLockfile(directory, name);
  const choice = chooseVersion(family, isNamed ? named.version : undefined, lockfile);
  const outdated = others.filter(([, of]) => !families.has(of)).map(([each]) => each);
  const hasPackages = hasDependencies([manifest, ...members]);
  return {
    ...choice,
    lockfile: lockfile && { name: lockfile.name, isOfNpm6: /"lockfileVersion": 1,/.test(lockfile.content) },
    notices: [...notices(family, named, lockfile, hasPackages), ...outdatedNotices(outdated, name)],
  };
}

/** Returns true if a package depends on a package that is not in the list. */
function hasDependencies(manifests: Manifest[]): boolean {
  const own = new Set(manifests.map(({ name }) => name));
  return manifests.some((manifest) => namesOfDependencies(manifest).some((name) => !own.has(name)));
}

/**
 * Returns the lockfiles of one package manager if only these have the dependencies of package.json. Returns all otherwise, and if
 * Sluice cannot compare one.
 */
async function withoutOutdated(
  directory: string,
  manifest: Manifest,
  found: typeof lockfiles,
  named: Named | undefined,
): Promise<typeof lockfiles> {
  const families = new Set(found.map(([, family]) => family));
  if (families.size < 2 || (named !== undefined && families.has(named.family))) return found;
  const matching: typeof lockfiles = [];
  for (const each of found) {
    const matches = matchesManifest(await readLockfile(directory, each[0]), manifest);
    if (matches === undefined) return found;
    if (matches) matching.push(each);
  }
  return new Set(matching.map(([, family]) => family)).size === 1 ? matching : found;
}

function outdatedNotices(outdated: string[], used = ''): Notice[] {
  if (outdated.length === 0) return [];
  const names = outdated.join(' and ');
  return [
    {
      code: 'outdated_lockfile',
      message: `Sluice installs from ${used}, because no other lockfile matches package.json`,
      hint: `Delete ${names}.`,
    },
  ];
}

function notices(
  family: Family,
  named: Named | undefined,
  lockfile: Lockfile | null,
  hasPackages: boolean,
): Notice[] {
  if (lockfile === null) {
    if (!hasPackages) return [];
    return [
      {
        code: 'no_lockfile',
        message: 'There is no lockfile: every deploy may install other versions of the dependencies',
        hint: `Commit the lockfile that \`${family} install\` writes. \`npm pack\` leaves the lockfile out: upload the result of \`git archive\` or \`tar\` instead.`,
      },
    ];
  }
  if (named === undefined || named.family === family) return [];
  return [
    {
      code: 'other_package_manager',
      message: `package.json names ${named.family}, but the lockfile is ${lockfile.name}: installing with ${family}`,
      hint: `Commit the lockfile of ${named.family}, or name ${family} in "packageManager".`,
    },
  ];
}

async function findLockfiles(directory: string): Promise<typeof lockfiles> {
  const found = await Promise.all(lockfiles.map(([name]) => exists(join(directory, name))));
  return lockfiles.filter((_lockfile, index) => found[index]);
}

/** Limit of the size of a lockfile, which Sluice reads into memory: ten times the lockfile of the largest projects. */
const maxLockfileBytes = 64 * 1024 ** 2;

async function readLockfile(directory: string, name: string): Promise<Lockfile> {
  const hint = `Commit the lockfile as a file of at most ${formatBytes(maxLockfileBytes)}.`;
  try {
    return { name, content: await readAppText(join(directory, name), directory, maxLockfileBytes) };
  } catch (error) {
    if (error instanceof NotAFile) throw unsupported(`${name} ${error.message}`, hint);
    throw error;
  }
}

interface Named {
  family: Family;
  version: string | undefined;
}

/** `pnpm@9.15.0`, with or without the hash that corepack adds, or a simple range as in `devEngines`. */
const namedPattern = /^(npm|pnpm|yarn|bun)(?:@([~^]?\d[\w.-]*)(?:\+.*)?)?$/;

function namedManager({ packageManager, devEngines }: Manifest): Named | undefined {
  const engine = [devEngines?.packageManager ?? []].flat()[0];
  const text = packageManager ?? (engine && textOf(engine));
  if (text === undefined) return undefined;
  const [, family, version] = namedPattern.exec(text) ?? [];
  if (family !== undefined) return { family: family as Named['family'], version };
  throw unsupported(
    `package.json names the package manager "${text}"`,
    'Name npm, pnpm, yarn or bun with a version, such as "pnpm@10.34.9".',
  );
}

/** Ignores other ranges, such as `>=10`: they allow versions, and the lockfile selects one. */
function textOf({ name, version }: { name: string; version?: string | undefined }): string {
  const text = `${name}@${version}`;
  return namedPattern.test(text) ? text : name;
}

function unsupported(message: string, hint: string): AppError {
  return new AppError('unsupported_package_manager', message, { hint });
}

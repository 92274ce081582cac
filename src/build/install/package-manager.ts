import { join } from 'node:path';
import type { Manifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import { exists } from '../../system/fs/exists.ts';
import { NoFile, openFile, readText } from '../../system/fs/read-file.ts';
import { formatBytes } from '../../system/text/format.ts';
import { defaultVersions, type Manager, managerOfYarn, versionForLockfile } from './versions.ts';

/** Which package manager an app is installed with, and how strictly. */
export interface Detected {
  manager: Manager;
  /** exact, or a range where package.json has one */
  version: string;
  /** null where there is none: then what is installed is not what was tested */
  lockfile: Lockfile | null;
  notices: Notice[];
}

export interface Lockfile {
  name: string;
  content: string;
}

/** What package.json names: yarn is two package managers, told apart by version. */
type Family = 'npm' | 'pnpm' | 'yarn' | 'bun';

const lockfiles: [string, Family][] = [
  ['npm-shrinkwrap.json', 'npm'],
  ['package-lock.json', 'npm'],
  ['pnpm-lock.yaml', 'pnpm'],
  ['yarn.lock', 'yarn'],
  ['bun.lock', 'bun'],
  ['bun.lockb', 'bun'],
];

/**
 * The package manager of an app: the one of its lockfile; where there are lockfiles of several, or none, the one that
 * package.json names in `packageManager` or `devEngines.packageManager`. Its version is the one named there, else the
 * one that writes such lockfiles.
 * @throws AppError `unsupported_package_manager`
 */
export async function detectPackageManager(directory: string, manifest: Manifest): Promise<Detected> {
  const named = namedManager(manifest);
  const found = await findLockfiles(directory);
  const families = new Set(found.map(([, family]) => family));
  if (families.size > 1 && (named === undefined || !families.has(named.family))) {
    throw unsupported(
      `There are lockfiles of several package managers: ${found.map(([name]) => name).join(', ')}`,
      'Delete those that are out of date, or name one package manager in "packageManager" of package.json.',
    );
  }
  const family =
    named !== undefined && (families.size !== 1 || families.has(named.family))
      ? named.family
      : (found[0]?.[1] ?? 'npm');
  if (family === 'bun') {
    throw unsupported(
      'The app is made for bun',
      'Sluice installs with npm, pnpm and yarn: add a lockfile of one of them, and remove that of bun.',
    );
  }
  const [name] = found.find(([, of]) => of === family) ?? [];
  const lockfile = name === undefined ? null : await readLockfile(directory, name);
  const version = named?.family === family ? named.version : undefined;
  return {
    ...chooseVersion(family, version, lockfile),
    lockfile,
    notices: notices(family, named, lockfile, manifest),
  };
}

function chooseVersion(
  family: Exclude<Family, 'bun'>,
  version: string | undefined,
  lockfile: Lockfile | null,
): { manager: Manager; version: string } {
  if (version !== undefined) return { manager: family === 'yarn' ? managerOfYarn(version) : family, version };
  if (lockfile !== null) return versionForLockfile(family, lockfile);
  const manager = family === 'yarn' ? 'yarn-berry' : family;
  return { manager, version: defaultVersions[manager] };
}

function notices(
  family: Family,
  named: Named | undefined,
  lockfile: Lockfile | null,
  { dependencies, devDependencies }: Manifest,
): Notice[] {
  if (lockfile === null) {
    if (Object.keys({ ...dependencies, ...devDependencies }).length === 0) return [];
    return [
      {
        code: 'no_lockfile',
        message: 'There is no lockfile: every deploy may install other versions of the dependencies',
        hint: `Commit the lockfile that \`${family} install\` writes. If it is committed: \`npm pack\` leaves it out; upload what \`git archive\` or \`tar\` makes of the directory.`,
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

async function findLockfiles(directory: string): Promise<[string, Family][]> {
  const found = await Promise.all(
    lockfiles.map(async (lockfile) => ((await exists(join(directory, lockfile[0]))) ? [lockfile] : [])),
  );
  return found.flat();
}

/** Ten times what the largest projects have; it is read into memory. */
const maxLockfileBytes = 64 * 1024 ** 2;

async function readLockfile(directory: string, name: string): Promise<Lockfile> {
  const path = join(directory, name);
  const limit = `A lockfile is a file of at most ${formatBytes(maxLockfileBytes)}.`;
  try {
    await using file = await openFile(path, directory);
    const { size } = await file.stat();
    if (size > maxLockfileBytes) throw unsupported(`${name} is ${formatBytes(size)}`, limit);
    return { name, content: await readText(file) };
  } catch (error) {
    if (error instanceof NoFile) throw unsupported(`${name} ${error.message}`, limit);
    throw error;
  }
}

interface Named {
  family: Family;
  version: string | undefined;
}

/** `pnpm@9.15.0`, with or without the hash that corepack adds, or a simple range as `devEngines` allows it. */
const namedPattern = /^(npm|pnpm|yarn|bun)(?:@([~^]?\d[\w.-]*)(?:\+.*)?)?$/;

function namedManager({ packageManager, devEngines }: Manifest): Named | undefined {
  const engine = [devEngines?.packageManager ?? []].flat()[0];
  const text = packageManager ?? (engine && textOf(engine));
  if (text === undefined) return undefined;
  const [, family, version] = namedPattern.exec(text) ?? [];
  if (family !== undefined) return { family: family as Family, version };
  throw unsupported(
    `package.json names the package manager "${text}"`,
    'Understood are npm, pnpm and yarn with a version, such as "pnpm@10.34.9".',
  );
}

/** Any other range, such as `>=10`, says what will do and not which is wanted: the lockfile does. */
function textOf({ name, version }: { name: string; version?: string | undefined }): string {
  const text = `${name}@${version}`;
  return namedPattern.test(text) ? text : name;
}

function unsupported(message: string, hint: string): AppError {
  return new AppError('unsupported_package_manager', message, { hint });
}

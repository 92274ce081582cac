import fs from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { Readable } from 'node:stream';
import { AppError } from '../errors/app-error.ts';
import { repositoryAround, trackedFiles } from './checkout.ts';
import { ExportIgnore } from './export-ignore.ts';

interface Packed {
  files: number;
  /** a gzipped tar, made as it is read */
  stream: Readable;
}

/** Never sent, ignored or not: what is built or kept anew at the other end. */
const never = new Set(['node_modules', '.git', '.sluice']);

/**
 * Packs a directory for upload as git would ship it, with what is not committed yet: without node_modules, .git, .sluice
 * and whatever its .gitignore files exclude, and `export-ignore` in its .gitattributes, those of the repository around it
 * included.
 * @param note told what could not be found out
 * @throws AppError `nothing_to_run` where there is nothing to pack
 */
export async function packDirectory(
  directory: string,
  onBytes: (sent: number) => void,
  note: (text: string) => void,
): Promise<Packed> {
  const root = resolve(directory);
  const paths = await listPaths(root, await rulesFor(root, note));
  if (paths.length === 0) {
    throw new AppError('nothing_to_run', `there is nothing to deploy in ${root}`, {
      hint: 'Name the directory of the app: sluice deploy DIRECTORY. What .gitignore excludes is not sent.',
    });
  }
  const { create } = await import('tar');
  // `./` keeps tar from reading a name that starts with @ as an archive to include.
  const names = paths.map((path) => `./${path}`);
  const archive = create({ gzip: true, cwd: root, portable: true, noDirRecurse: true }, names);
  const files = paths.filter((path) => !path.endsWith('/')).length;
  return { files, stream: Readable.from(counted(archive, onBytes)) };
}

/** Whether a path below the root is not to be sent; a directory has a slash at its end. */
type IsLeftOut = (path: string) => Promise<boolean>;

/** Paths below `root`, relative to it, directories with a slash at the end and before what is in them. */
async function listPaths(root: string, isLeftOut: IsLeftOut, below = ''): Promise<string[]> {
  const paths: string[] = [];
  const entries = await readdir(join(root, below), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const packable = entry.isFile() || entry.isDirectory() || entry.isSymbolicLink();
    if (!packable || never.has(entry.name)) continue;
    // With the slash, rules such as `build/` apply, which are for directories only.
    const path = `${below}${entry.name}${entry.isDirectory() ? '/' : ''}`;
    if (await isLeftOut(path)) continue;
    paths.push(path);
    if (entry.isDirectory()) paths.push(...(await listPaths(root, isLeftOut, path)));
  }
  return paths;
}

async function rulesFor(root: string, note: (text: string) => void): Promise<IsLeftOut> {
  const { isIgnored } = await import('isomorphic-git');
  const top = (await repositoryAround(root)) ?? root;
  const prefix = relative(top, root).split(sep).join('/');
  const reading = {
    promises: {
      ...fs.promises,
      readFile: remembering(fs.promises.readFile),
      stat: remembering(fs.promises.stat),
    },
  };
  const rulesIn = (dir: string, below: string, tracked: ReadonlySet<string>): IsLeftOut => {
    const attributes = new ExportIgnore(dir);
    return async (path) => {
      const filepath = `${below}${path}`;
      if (await attributes.excludes(filepath)) return true;
      // What git keeps it ships, whatever has come to ignore it since.
      return !tracked.has(filepath) && (await isIgnored({ fs: reading, dir, filepath }));
    };
  };
  // What is deployed although the repository around it ignores it has only its own rules.
  if (prefix !== '' && (await isIgnored({ fs: reading, dir: top, filepath: `${prefix}/` }))) {
    return rulesIn(root, '', new Set());
  }
  return rulesIn(top, prefix === '' ? '' : `${prefix}/`, await trackedPaths(top, note));
}

/** Files that git keeps, and the directories they are in, with a slash at their end. */
async function trackedPaths(top: string, note: (text: string) => void): Promise<Set<string>> {
  const paths = new Set<string>();
  const files = await trackedFiles(top).catch((error: Error) => {
    note(`note: what .gitignore excludes is left out, although git may keep some of it: ${error.message}`);
    return [];
  });
  for (const file of files) {
    paths.add(file);
    for (let end = file.lastIndexOf('/'); end !== -1; end = file.lastIndexOf('/', end - 1)) {
      paths.add(file.slice(0, end + 1));
    }
  }
  return paths;
}

/** The rules are looked up anew for every path, in the same few files. */
function remembering<Result>(read: (path: string, options?: never) => Promise<Result>) {
  const results = new Map<string, Promise<Result>>();
  return (path: string, options?: never): Promise<Result> => {
    const result = results.get(path) ?? read(path, options);
    results.set(path, result);
    return result;
  };
}

async function* counted(chunks: AsyncIterable<Buffer>, onBytes: (sent: number) => void) {
  let sent = 0;
  for await (const chunk of chunks) {
    sent += chunk.length;
    onBytes(sent);
    yield chunk;
  }
}

import fs from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import type { Header as TarHeader } from 'tar';
import { AppError } from '../../errors/app-error.ts';
import { repositoryAround } from './checkout.ts';
import { exportIgnoredIn, ignoredIn, type PathTest } from './left-out.ts';

/** Names that are never sent: the server installs and builds these itself, or only macOS uses them. */
const never = new Set(['node_modules', '.git', '.sluice', '.DS_Store', '__MACOSX']);

/**
 * Packs a directory for upload, with uncommitted changes. Leaves out node_modules, .git, .sluice, .DS_Store, and files that .gitignore or
 * `export-ignore` in .gitattributes exclude; the rules of the repository around the directory apply, too.
 * @param root absolute path
 * @param note called with a text for the user if the repository cannot be read
 * @param added texts of files that the directory does not have, by path
 * @returns the number of files, and a gzipped tar that is created as it is read
 * @throws AppError `nothing_to_run` if no file remains
 */
export async function packDirectory(
  root: string,
  note: (text: string) => void,
  added: Readonly<Record<string, string>> = {},
): Promise<{ files: number; stream: Readable }> {
  const found = await listPaths(root, await rulesFor(root, note));
  const paths = found.filter((path) => !Object.hasOwn(added, path));
  if (paths.length === 0) {
    throw new AppError('nothing_to_run', `there is nothing to deploy in ${root}`, {
      hint: 'Name the directory of the app: sluice deploy DIRECTORY. Files that .gitignore excludes are not sent.',
    });
  }
  const { create } = await import('tar');
  // `./` keeps tar from reading a name that starts with @ as an archive to include.
  const names = paths.map((path) => `./${path}`);
  const extra = Object.entries(added);
  const archive = create({ gzip: extra.length === 0, cwd: root, portable: true, noDirRecurse: true }, names);
  const files = paths.filter((path) => !path.endsWith('/')).length + extra.length;
  if (extra.length === 0) return { files, stream: Readable.from(archive) };
  const { Header } = await import('tar');
  const entries = extra.map(([path, text]) => entryOf(Header, path, text));
  const stream = createGzip();
  // An error of the archive destroys the stream, whose reader reports it.
  pipeline(Readable.from(concatenated(entries, archive)), stream, () => undefined);
  return { files, stream };
}

/** Returns the entry of a file in a tar: its header, and its content up to a whole block. */
function entryOf(Header: typeof TarHeader, path: string, text: string): Buffer {
  const content = Buffer.from(text);
  const block = Buffer.alloc(512 * (1 + Math.ceil(content.length / 512)));
  content.copy(block, 512);
  new Header({ path: `./${path}`, type: 'File', mode: 0o644, size: content.length }).encode(block, 0);
  return block;
}

async function* concatenated(entries: Buffer[], archive: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* entries;
  yield* archive;
}

/** Lists the paths below `root`, relative to it: each directory with a slash at its end, and before its files. */
async function listPaths(root: string, isLeftOut: PathTest, below = ''): Promise<string[]> {
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

async function rulesFor(root: string, note: (text: string) => void): Promise<PathTest> {
  const top = repositoryAround(root) ?? root;
  const below = top === root ? '' : `${relative(top, root)}/`;
  // If the repository around the directory ignores it, only the rules in the directory apply.
  if (below !== '' && (await ignoredIn(top)(below))) return leftOutOf(root, '', new Set());
  return leftOutOf(top, below, await trackedPaths(top, note));
}

/** @param below path of the packed directory in `top`, with a slash at its end */
function leftOutOf(top: string, below: string, tracked: ReadonlySet<string>): PathTest {
  const [isExportIgnored, isIgnored] = [exportIgnoredIn(top), ignoredIn(top)];
  return async (name) => {
    const path = `${below}${name}`;
    // git ships tracked files, even if a rule ignores them.
    return (await isExportIgnored(path)) || (!tracked.has(path) && (await isIgnored(path)));
  };
}

/** Returns the tracked files and their directories, which have a slash at their end. */
async function trackedPaths(top: string, note: (text: string) => void): Promise<Set<string>> {
  const { listFiles } = await import('isomorphic-git');
  const files = await listFiles({ fs, dir: top }).catch((error: Error) => {
    note(`note: files that .gitignore excludes are left out, even if git tracks them: ${error.message}`);
    return [];
  });
  const paths = new Set(files);
  for (const file of files) {
    for (let end = file.lastIndexOf('/'); end !== -1; end = file.lastIndexOf('/', end - 1))
      paths.add(file.slice(0, end + 1));
  }
  return paths;
}

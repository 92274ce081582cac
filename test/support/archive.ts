import { Header } from 'tar/header';
import type { EntryTypeName } from 'tar/types';

/** One entry of a tar as `tarball` writes it: nothing is checked, so that it can be as hostile as need be. */
export interface Entry {
  path: string;
  type?: EntryTypeName;
  content?: string | Buffer;
  linkpath?: string;
  mode?: number;
  /** bytes that follow, where they are not `content` */
  size?: number;
}

/** The two blocks of zeros that end a tar. */
export const endOfArchive = Buffer.alloc(1024);

export function tarball(entries: Entry[]): Buffer {
  return Buffer.concat([...entries.map(tarEntry), endOfArchive]);
}

export function tarEntry({ path, type = 'File', content = '', linkpath, mode = 0o644, size }: Entry): Buffer {
  const body = Buffer.from(content);
  const header = new Header({
    path,
    type,
    mode,
    size: size ?? body.length,
    mtime: new Date(0),
    ...(linkpath && { linkpath }),
  });
  const block = Buffer.alloc(512);
  header.encode(block);
  return Buffer.concat([block, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

/** Header that gives the next entry a path, or the target of a link, that is too long for the entry's own header. */
export function extendedHeader(key: 'path' | 'linkpath', value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const digits = String(rest.length + String(rest.length).length).length;
  return tarEntry({ path: 'head', type: 'ExtendedHeader', content: `${rest.length + digits}${rest}` });
}

/** Yields an archive of `count` entries of all kinds: many with long names, and some at its root. */
export function* manyEntries(count: number): Generator<Buffer> {
  const makers = [directoryAtRoot, fileAtRoot, fileBelow, directoryBelow, hardLink, symbolicLink];
  yield tarEntry({ path: 'deep/', type: 'Directory' });
  yield tarEntry({ path: 'deep/file' });
  for (const path of ['many', 'hard', 'link']) yield tarEntry({ path: `deep/${path}/`, type: 'Directory' });
  for (let n = 5; n < count; n += 1)
    yield* (makers[n % makers.length] as (n: number) => Generator<Buffer>)(n);
  yield endOfArchive;
}

function* directoryAtRoot(n: number): Generator<Buffer> {
  yield extendedHeader('path', `${String(n).padStart(250, 'd')}/`);
  yield tarEntry({ path: 'long', type: 'Directory' });
}

function* fileAtRoot(n: number): Generator<Buffer> {
  yield extendedHeader('path', String(n).padStart(250, 'f'));
  yield tarEntry({ path: 'long' });
}

function* fileBelow(n: number): Generator<Buffer> {
  yield tarEntry({ path: `deep/many/${n}` });
}

function* directoryBelow(n: number): Generator<Buffer> {
  yield tarEntry({ path: `deep/many/${n}/`, type: 'Directory' });
}

function* hardLink(n: number): Generator<Buffer> {
  yield tarEntry({ path: `deep/hard/${n}`, type: 'Link', linkpath: 'deep/file' });
}

function* symbolicLink(n: number): Generator<Buffer> {
  yield tarEntry({ path: `deep/link/${n}`, type: 'SymbolicLink', linkpath: `../many/${n}` });
}

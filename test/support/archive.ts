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

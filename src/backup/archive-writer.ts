import { Header } from 'tar/header';
import { Pax } from 'tar/pax';
import { placeOf } from './place.ts';
import { type EntryHead, Sums } from './sums.ts';

const types = { file: 'File', directory: 'Directory', link: 'SymbolicLink' } as const;
const block = 512;

/**
 * Writes a tar, entry by entry, with no more of it in memory than a piece of one file. Header by header, and not with what
 * the package has for whole files: that one takes a file which shrinks while it is read for an error, and apps go on
 * writing while we read.
 */
export class ArchiveWriter {
  readonly #put: (chunk: Buffer) => Promise<void>;
  readonly #sums = new Sums();

  /** @param put fulfilled when more can be taken */
  constructor(put: (chunk: Buffer) => Promise<void>) {
    this.#put = put;
  }

  /** @param content of a file, no longer than it was said to be */
  async entry(head: EntryHead, content: AsyncIterable<Buffer> | Iterable<Buffer> = []): Promise<void> {
    await this.#header(head);
    const sum = this.#sums.enter(placeOf(head.path).part, head);
    let left = head.size;
    const write = async (chunk: Buffer) => {
      sum(chunk);
      left -= chunk.length;
      await this.#put(chunk);
    };
    for await (const chunk of content) await write(chunk);
    // As every tar does with what has become shorter than its header says.
    while (left > 0) await write(Buffer.alloc(Math.min(left, 65_536)));
    await this.#pad(head.size);
  }

  /** A file of the backup itself. */
  async own(path: string, value: unknown): Promise<void> {
    const text = Buffer.from(`${JSON.stringify(value, null, 2)}\n`);
    await this.#header({ ...plain, path, type: 'file', mode: 0o600, size: text.length, mtime: now() });
    await this.#put(text);
    await this.#pad(text.length);
  }

  manifest() {
    return this.#sums.manifest();
  }

  /** The two blocks of zeros that end a tar. */
  async end(): Promise<void> {
    await this.#put(Buffer.alloc(2 * block));
  }

  async #header({ path, type, mode, size, mtime, target, owner, group }: EntryHead): Promise<void> {
    const fields = {
      path: type === 'directory' ? `${path}/` : path,
      type: types[type],
      mode,
      size,
      mtime: new Date(mtime * 1000),
      uid: 0,
      gid: 0,
      uname: owner,
      gname: group,
      ...(type === 'link' && { linkpath: target }),
    };
    const header = new Header(fields);
    const bytes = Buffer.alloc(block);
    if (header.encode(bytes)) await this.#put(new Pax(fields).encode());
    await this.#put(bytes);
  }

  async #pad(size: number): Promise<void> {
    const rest = size % block;
    if (rest > 0) await this.#put(Buffer.alloc(block - rest));
  }
}

export const plain = { target: '', owner: 'owner', group: 'owner' };

export function now(): number {
  return Math.floor(Date.now() / 1000);
}

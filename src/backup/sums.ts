import { createHash, type Hash } from 'node:crypto';
import type { Manifest } from './format.ts';

/** What is kept of an entry besides its content. */
export interface EntryHead {
  path: string;
  /** `hardLink`: another name of a file that is in the archive already */
  type: 'file' | 'directory' | 'link' | 'hardLink';
  /** permissions alone */
  mode: number;
  /** of a file, in bytes */
  size: number;
  /** in s */
  mtime: number;
  /** of a link, or of a hard link, the path in the archive; else empty */
  target: string;
  /** who owns it, by what they are, since numbers and names differ between machines: see owners.ts */
  owner: string;
  group: string;
  /** size of a file with holes: then `size` is that of the list of its pieces, and of the pieces */
  sparseSize?: number;
}

interface Sum {
  entries: number;
  bytes: number;
  hash: Hash;
}

/** What has gone by, part by part: for whoever writes a backup, and for whoever reads it to find the same. */
export class Sums {
  readonly #parts = new Map<string, Sum>();

  /** @returns to be given the content */
  enter(part: string, head: EntryHead): (chunk: Buffer) => void {
    const { path, type, mode, size, target, owner, group, sparseSize } = head;
    const sum = this.#parts.get(part) ?? { entries: 0, bytes: 0, hash: createHash('sha256') };
    this.#parts.set(part, sum);
    sum.entries += 1;
    const fields = [path, type, mode, size, target, owner, group];
    sum.hash.update(JSON.stringify(sparseSize === undefined ? fields : [...fields, sparseSize]));
    return (chunk) => {
      sum.bytes += chunk.length;
      sum.hash.update(chunk);
    };
  }

  /** To be asked once, at the end. */
  manifest(): Manifest {
    const parts = [...this.#parts].map(([name, { entries, bytes, hash }]) => {
      return { name, entries, bytes, sha256: hash.digest('hex') };
    });
    return { parts: parts.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }
}

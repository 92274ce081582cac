import { createHash, type Hash } from 'node:crypto';
import type { Manifest } from './format.ts';

/** What is kept of an entry besides its content. */
export interface EntryHead {
  path: string;
  type: 'file' | 'directory' | 'link';
  /** permissions alone */
  mode: number;
  /** of a file, in bytes */
  size: number;
  /** in s */
  mtime: number;
  /** of a link; else empty */
  target: string;
  /** who owns it, by what they are, since numbers and names differ between machines: see owners.ts */
  owner: string;
  group: string;
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
  enter(part: string, { path, type, mode, size, target, owner, group }: EntryHead): (chunk: Buffer) => void {
    const sum = this.#parts.get(part) ?? { entries: 0, bytes: 0, hash: createHash('sha256') };
    this.#parts.set(part, sum);
    sum.entries += 1;
    sum.hash.update(JSON.stringify([path, type, mode, size, target, owner, group]));
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

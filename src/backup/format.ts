import { createHash, type Hash } from 'node:crypto';
import * as v from 'valibot';
import { isName } from '../config/paths.ts';
import { faultsOf } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';

/** First file of a backup: the format, and what the backup was to contain. */
export const headName = 'sluice-backup.json';
/** Last file of a backup: the checksums. A backup that was cut off has none. */
export const manifestName = 'manifest.json';

/** Format 2 has hard links and files with holes. */
const format = 2;

const number = v.pipe(v.number(), v.integer(), v.minValue(1));
const name = v.pipe(v.string(), v.check(isName, 'a name of an app or an environment'));

const headSchema = v.object({
  format: v.picklist([1, format]),
  /** version of Sluice that wrote the backup */
  sluice: v.string(),
  createdAt: v.pipe(v.string(), v.isoTimestamp()),
  /** true if the files of each app belonged to a user of its own */
  isolated: v.boolean(),
  /** false for a backup without the data of apps */
  shared: v.boolean(),
  environments: v.array(
    v.object({
      app: name,
      environment: name,
      /** live release; null if there was none */
      live: v.nullable(number),
      /** releases with all their files */
      trees: v.array(number),
    }),
  ),
});

const manifestSchema = v.object({
  parts: v.array(
    v.object({
      name: v.string(),
      entries: v.pipe(v.number(), v.integer()),
      bytes: v.pipe(v.number(), v.integer()),
      sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
    }),
  ),
});

export type Head = v.InferOutput<typeof headSchema>;
export type BackedUpEnvironment = Head['environments'][number];
export type Manifest = v.InferOutput<typeof manifestSchema>;

export function newHead(head: Omit<Head, 'format'>): Head {
  return { format, ...head };
}

/** @throws AppError `archive_unreadable` */
export function parseHead(text: string): Head {
  const value = parse(text, headName);
  const found = (value as { format?: unknown } | null)?.format;
  if (typeof found === 'number' && found > format)
    throw new AppError('archive_unreadable', `the backup has format ${found} (known: up to ${format})`, {
      hint: 'A later version of Sluice made it: install that version.',
    });
  return valid(headSchema, value, headName);
}

/** @throws AppError `archive_unreadable` */
export function parseManifest(text: string): Manifest {
  return valid(manifestSchema, parse(text, manifestName), manifestName);
}

export function notABackup(why: string, cause?: unknown): AppError {
  return new AppError('archive_unreadable', `not a backup of Sluice: ${why}`, {
    hint: 'Create a backup: `sluice backup FILE`.',
    cause,
  });
}

function parse(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notABackup(`${source} is not valid JSON`, cause);
  }
}

function valid<T>(schema: v.GenericSchema<unknown, T>, value: unknown, source: string): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw notABackup(`${source} is invalid (${faultsOf(result.issues)[0]})`);
}

/** Properties of an entry. Checksums cover them and the content. */
export interface EntryHead {
  path: string;
  /** `hardLink`: another name of an earlier file of the archive */
  type: 'file' | 'directory' | 'link' | 'hardLink';
  /** permissions only */
  mode: number;
  /** of a file, in bytes */
  size: number;
  /** in s */
  mtime: number;
  /** target of a link, or path of a hard link's file; else empty */
  target: string;
  /** role of the owner and of the group: see owners.ts */
  owner: string;
  group: string;
  /** size of a file with holes; `size` is then that of the list of its pieces and the pieces */
  sparseSize?: number | undefined;
}

/** Checksums of the parts of a backup. Both the writer and the reader compute them. */
export class Checksums {
  readonly #parts = new Map<string, { entries: number; bytes: number; hash: Hash }>();

  /** @returns a function that adds a chunk of the entry's content */
  add(part: string, head: Omit<EntryHead, 'type'> & { type: string }): (chunk: Buffer) => void {
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

  /** Returns all checksums; call it once. */
  manifest(): Manifest {
    const parts = [...this.#parts].map(([name, { hash, ...sum }]) => {
      return { name, ...sum, sha256: hash.digest('hex') };
    });
    return { parts: parts.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }
}

/** Returns the current time, in s. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}

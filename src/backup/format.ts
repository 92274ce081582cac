import * as v from 'valibot';
import { isName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';

/** What a backup begins with: what it is, and what was to go in. */
export const headName = 'sluice-backup.json';
/** What it ends with: what went in. One that has been cut off has none. */
export const manifestName = 'manifest.json';

/** Format 2 has hard links and files with holes. */
const format = 2;

const number = v.pipe(v.number(), v.integer(), v.minValue(1));
const name = v.pipe(v.string(), v.check(isName, 'a name of an app or an environment'));

const headSchema = v.object({
  format: v.picklist([1, format]),
  /** version of Sluice that made it */
  sluice: v.string(),
  createdAt: v.pipe(v.string(), v.isoTimestamp()),
  /** whether the files of an app belonged to a user of its own */
  isolated: v.boolean(),
  /** whether what apps keep is in it */
  shared: v.boolean(),
  environments: v.array(
    v.object({
      app: name,
      environment: name,
      /** release that was live; null where none was */
      live: v.nullable(number),
      /** releases that are in it with all their files */
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
export type Environment = Head['environments'][number];
export type Manifest = v.InferOutput<typeof manifestSchema>;

export function newHead(head: Omit<Head, 'format'>): Head {
  return { format, ...head };
}

/** @throws AppError `archive_unreadable` */
export function parseHead(text: string): Head {
  const value = parsed(text);
  const made = (value as { format?: unknown } | null)?.format;
  if (typeof made === 'number' && made > format) {
    throw new AppError('archive_unreadable', `this backup has format ${made}, and ${format} is known here`, {
      hint: 'A later version of Sluice made it: install that one.',
    });
  }
  return valid(headSchema, value, headName);
}

/** @throws AppError `archive_unreadable` */
export function parseManifest(text: string): Manifest {
  return valid(manifestSchema, parsed(text), manifestName);
}

export function notABackup(why: string, cause?: unknown): AppError {
  return new AppError('archive_unreadable', `this is no backup of Sluice: ${why}`, {
    hint: '`sluice backup FILE` makes one.',
    cause,
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notABackup('what it says of itself is no JSON', cause);
  }
}

function valid<T>(schema: v.GenericSchema<unknown, T>, value: unknown, source: string): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw notABackup(`${source} is not as it should be (${result.issues[0].message})`);
}

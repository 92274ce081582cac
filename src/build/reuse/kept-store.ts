import * as v from 'valibot';
import { readUndamagedJson } from '../../system/fs/files.ts';

/** Place of packages, or of caches, that one environment keeps for its next deploy. */
export interface KeptStore {
  /** file of the server about them; absolute */
  record: string;
  /** their directory, which the user of the app writes; absolute, may not exist yet */
  directory: string;
  /** number of the release that is built */
  release: number;
  /** true to build without them, and to keep the new ones */
  isIgnored: boolean;
  /** returns the space that they may take, in bytes */
  space(): Promise<number>;
}

export const fingerprintsSchema = v.object({ key: v.string(), of: v.record(v.string(), v.string()) });

/** Reads the record of a store; undefined if it is missing or damaged: an install or a build makes everything again. */
export async function readRecord<T>(
  { record }: Pick<KeptStore, 'record'>,
  schema: v.GenericSchema<unknown, T>,
): Promise<T | undefined> {
  const parsed = v.safeParse(schema, await readUndamagedJson(record));
  return parsed.success ? parsed.output : undefined;
}

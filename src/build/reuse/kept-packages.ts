import * as v from 'valibot';
import { fingerprint } from '../../releases/fingerprints.ts';
import type { Fingerprints } from '../../releases/release.ts';
import { writeJsonAtomic } from '../../system/fs/files.ts';
import { listSome } from '../../system/text/format.ts';
import type { Facts } from './facts.ts';
import { fingerprintsSchema, type KeptStore, readRecord } from './kept-store.ts';

const keptSchema = v.object({
  /** release that installed the packages */
  release: v.number(),
  fingerprints: fingerprintsSchema,
  /** paths of the app that install scripts have read */
  reads: v.array(v.string()),
  /** paths of the packages, relative to the directory of the install */
  paths: v.array(v.string()),
  /** digest of the inodes of all kept files */
  digest: v.string(),
  bytes: v.number(),
  /** notices of the install */
  notices: v.array(v.object({ code: v.string(), message: v.string(), hint: v.string() })),
});

/** Installed packages that an environment keeps. */
export type Kept = v.InferOutput<typeof keptSchema>;

/** Kept packages, by the directory of the install. */
const recordSchema = v.record(v.string(), keptSchema);

/** Returns all kept packages, by the directory of their install. */
export async function readAllKept(store: Pick<KeptStore, 'record'>): Promise<Record<string, Kept>> {
  return (await readRecord(store, recordSchema)) ?? {};
}

/** Replaces the record of the packages of one install; undefined removes it. */
export async function writeKept(store: KeptStore, at: string, kept: Kept | undefined): Promise<void> {
  const { [at]: before, ...others } = await readAllKept(store);
  if (kept === undefined && before === undefined) return;
  await writeJsonAtomic(store.record, kept === undefined ? others : { ...others, [at]: kept });
}

/** Returns the names of the facts that differ from those of kept packages, sorted. */
export function changedFacts({ fingerprints }: { fingerprints: Fingerprints }, facts: Facts): string[] {
  const { key, of } = fingerprints;
  const now = fingerprint(facts, key).of;
  return [...new Set([...Object.keys(of), ...Object.keys(now)])]
    .filter((name) => of[name] !== now[name])
    .sort();
}

/** Returns the reason for an install, for people: `package-lock.json has changed since release 12`. */
export function describeChange(names: string[], release: number): string {
  const files = names.filter((name) => !name.startsWith('the variable '));
  const shown = listSome([...files, ...names.filter((name) => !files.includes(name))], 2);
  return `${shown} ${names.length === 1 ? 'has' : 'have'} changed since release ${release}`;
}

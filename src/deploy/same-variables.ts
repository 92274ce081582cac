import { stat } from 'node:fs/promises';
import type { Environment } from '../apps/environment.ts';
import { hasCode } from '../errors/app-error.ts';
import type { ReleaseRecord } from '../releases/release.ts';

/**
 * Returns true if a release has been live with the variables that its environment has now: none was set or removed since the next
 * release went live. Without a next release, the time counts from the first time that this one was live.
 */
export async function hasItsVariables(
  { paths, store }: Pick<Environment, 'paths' | 'store'>,
  { liveAt }: Pick<ReleaseRecord, 'liveAt'>,
): Promise<boolean> {
  if (liveAt === null) return false;
  // ISO 8601 sorts by time.
  const later = (await store.outlines()).flatMap((one) =>
    (one.liveAt ?? '') > liveAt ? (one.liveAt ?? []) : [],
  );
  const until = Date.parse(later.sort()[0] ?? liveAt);
  const changes = await Promise.all([paths.env, paths.variableDetails].map(changedAt));
  return changes.every((at) => at <= until);
}

/** @returns ms; 0 if there is no such file */
async function changedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
}

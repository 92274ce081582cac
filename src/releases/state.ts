import type { ReleaseRecord, ReleaseState } from './release.ts';

interface ReleaseFacts {
  /** number of the release that has the traffic; null where none has */
  activeRelease: number | null;
  /** whether its files are there, not only its records */
  hasTree: boolean;
  /** whether this server is deploying it now */
  underWay: boolean;
}

/** building → live → retained → removed, or building → failed. A rollback makes a retained release live again. */
export function releaseState(
  record: Pick<ReleaseRecord, 'number' | 'error' | 'liveAt'>,
  { activeRelease, hasTree, underWay }: ReleaseFacts,
): ReleaseState {
  if (record.error !== null) return 'failed';
  if (record.number === activeRelease) return 'live';
  if (underWay) return 'building';
  // Nobody works on it and it never was live: a crash ended it, and the next reconcile writes that down.
  if (record.liveAt === null) return 'failed';
  return hasTree ? 'retained' : 'removed';
}

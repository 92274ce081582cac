/** What retention needs to know of a release. */
export interface Retainable {
  number: number;
  liveAt: string | null;
  hasTree: boolean;
}

/** Releases that traffic can be switched to, the newest first. */
export function switchable<R extends Retainable>(releases: Iterable<R>): R[] {
  return [...releases]
    .filter((release) => release.liveAt !== null && release.hasTree)
    .sort((a, b) => b.number - a.number);
}

/** Where a rollback without a number goes: the newest switchable release before the active one. */
export function previousRelease<R extends Retainable>(
  releases: Iterable<R>,
  activeRelease: number | null,
): R | undefined {
  return switchable(releases).find((release) => activeRelease !== null && release.number < activeRelease);
}

/**
 * Numbers of the releases whose trees may go: all that were live but the `keep` newest, the active one, the one a
 * rollback would go to, and those that still have work to do.
 */
export function expiredReleases(
  releases: Retainable[],
  {
    keep,
    activeRelease,
    draining,
  }: { keep: number; activeRelease: number | null; draining: ReadonlySet<number> },
): number[] {
  const previous = previousRelease(releases, activeRelease)?.number;
  return switchable(releases)
    .slice(keep)
    .map((release) => release.number)
    .filter((number) => number !== activeRelease && number !== previous && !draining.has(number));
}

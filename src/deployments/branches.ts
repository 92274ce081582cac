import { defaultEnvironment } from '../config/paths.ts';
import { collide, heads, kept } from '../git/refs.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import type { AppRepository } from './app-repository.ts';
import type { Site } from './site.ts';

/**
 * Makes the branches say what runs: each environment has one, the branch it was last pushed with, at the commit of its
 * live release. Where git does not know that commit, as of an upload, there is none, so that a push of any commit has
 * something to do. Does nothing while a push is under way; the end of the last one does it.
 * @param sites all environments of one app
 */
export async function alignBranches(place: AppRepository, sites: Site[]): Promise<void> {
  const { repository } = place;
  // Asked before the lock, too: a push may hold that for as long as its client takes to listen.
  if (place.postponesAlignment()) return;
  using _ = await place.refs.take();
  if (place.postponesAlignment() || !(await repository.isThere)) return;
  const wanted = await wantedRefs(place, sites);
  const there = new Map([...(await repository.refs(heads)), ...(await repository.refs(kept))]);
  const changes = new Map<string, string | null>();
  for (const ref of there.keys()) if (!wanted.has(ref)) changes.set(ref, null);
  for (const [ref, commit] of wanted) if (there.get(ref) !== commit) changes.set(ref, commit);
  await repository.updateRefs(changes);
  await repository.setHead(await headBranch(sites, wanted));
}

/** What a clone checks out is production, or nothing. */
async function headBranch(sites: Site[], refs: ReadonlyMap<string, string>): Promise<string> {
  const production = sites.find((site) => rank(site) === 0);
  const branch = (await production?.store.list())?.find(wasPushed)?.source.branch;
  return branch && refs.has(heads + branch) ? branch : 'main';
}

/** In the order of importance: of two branches that exclude each other, the first is had. */
async function wantedRefs({ repository }: AppRepository, sites: Site[]): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  const inOrder = sites.toSorted((a, b) => rank(a) - rank(b));
  for (const site of inOrder) {
    const [releases, active] = await Promise.all([site.store.list(), site.store.active()]);
    const live = releases.find(({ number }) => number === active?.release);
    const branch = releases.find(wasPushed)?.source.branch;
    const commit = live && wholeCommit(live.source);
    const ref = `${heads}${branch}`;
    if (branch && commit && ![...refs.keys()].some((other) => other === ref || collide(other, ref))) {
      refs.set(ref, commit);
    }
    for (const release of releases) {
      const its = wholeCommit(release.source);
      if (its === null || release.liveAt === null) continue;
      if (await site.store.hasTree(release.number)) {
        refs.set(`${kept}${site.target.environment}/${release.number}`, its);
      }
    }
  }
  const known = await repository.having([...new Set(refs.values())]);
  return new Map([...refs].filter(([, commit]) => known.has(commit)));
}

function rank({ target }: Site): number {
  return target.environment === defaultEnvironment ? 0 : 1;
}

function wasPushed({ source, liveAt }: ReleaseRecord): boolean {
  return source.kind === 'git' && source.branch !== null && liveAt !== null;
}

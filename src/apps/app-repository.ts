import { defaultEnvironment } from '../config/paths.ts';
import { collide, heads, releaseRefs } from '../git/refs.ts';
import { Repository } from '../git/repository.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import { Lock } from '../system/concurrency/slots.ts';
import type { Environment } from './environment.ts';

/** Repository of one app, with its pushes under way. */
export class AppRepository extends Repository {
  /** lock for changes of refs; a push holds it while git changes its refs */
  readonly refsLock = new Lock();
  /** number of pushes under way */
  pushes = 0;
  /** true if the branches have yet to be aligned because a push was under way */
  isBehind = false;

  /**
   * Sets the branches to what runs. Each environment has one branch: the branch of its last push, at the commit of the live
   * release. An environment has no branch if git does not have that commit, as after an upload: so git never reports
   * "up-to-date". While a push is under way, does nothing; the end of the last push calls it again.
   * @param environments all environments of the app
   */
  async align(environments: Environment[]): Promise<void> {
    // A push may hold the lock for as long as its client takes to read.
    if (this.#isPostponed()) return;
    using _ = await this.refsLock.take();
    if (this.#isPostponed() || !(await this.exists)) return;
    const { refs, head } = await this.#desiredRefs(environments);
    const actual = new Map([...(await this.refs(heads)), ...(await this.refs(releaseRefs))]);
    const changes = new Map<string, string | null>();
    for (const ref of actual.keys()) if (!refs.has(ref)) changes.set(ref, null);
    for (const [ref, commit] of refs) if (actual.get(ref) !== commit) changes.set(ref, commit);
    await this.updateRefs(changes);
    await this.setHead(head);
  }

  #isPostponed(): boolean {
    this.isBehind = this.pushes > 0;
    return this.isBehind;
  }

  /** Returns the refs to set, and the branch that a clone checks out: that of production, or one that does not exist. */
  async #desiredRefs(environments: Environment[]): Promise<{ refs: Map<string, string>; head: string }> {
    const desired = new Map<string, string>();
    let productionBranch: string | undefined;
    // Production comes first: of two branches that exclude each other, git gets the first.
    for (const environment of environments.toSorted((a, b) => rank(a) - rank(b))) {
      const [releases, active] = await Promise.all([environment.store.list(), environment.store.active()]);
      const live = releases.find(({ number }) => number === active?.release);
      const branch = releases.find(wasPushed)?.source.branch;
      if (rank(environment) === 0 && branch) productionBranch = branch;
      const commit = live && wholeCommit(live.source);
      const ref = `${heads}${branch}`;
      const isFree = ![...desired.keys()].some((other) => other === ref || collide(other, ref));
      if (branch && commit && isFree) desired.set(ref, commit);
      for (const release of releases) {
        const commit = wholeCommit(release.source);
        if (commit === null || release.liveAt === null) continue;
        if (await environment.store.hasTree(release.number)) {
          desired.set(`${releaseRefs}${environment.id.environment}/${release.number}`, commit);
        }
      }
    }
    const known = await this.having([...new Set(desired.values())]);
    const refs = new Map([...desired].filter(([, commit]) => known.has(commit)));
    const head =
      productionBranch !== undefined && refs.has(heads + productionBranch) ? productionBranch : 'main';
    return { refs, head };
  }
}

function rank({ id }: Environment): number {
  return id.environment === defaultEnvironment ? 0 : 1;
}

function wasPushed({ source, liveAt }: ReleaseRecord): boolean {
  return source.kind === 'git' && source.branch !== null && liveAt !== null;
}

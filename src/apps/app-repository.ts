import { fileURLToPath } from 'node:url';
import type { Environment } from '../apps/environment.ts';
import { defaultEnvironment } from '../config/paths.ts';
import { collide, heads, kept } from '../git/refs.ts';
import { Repository } from '../git/repository.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import { Slots } from '../system/concurrency/slots.ts';

const hooks = fileURLToPath(new URL('../../hooks', import.meta.url));

/** The repository of one app as the server has it in memory: what is on the disk, and who may change its refs now. */
export class AppRepository {
  readonly repository: Repository;
  /** held by whoever changes refs, or waits for git to do so */
  readonly refs = new Slots(1);
  /** clients of git that are served now and may push */
  #pushers = 0;
  #isBehind = false;

  constructor(path: string) {
    this.repository = new Repository(path);
  }

  /** Makes the repository where it is not there yet. */
  ensure(): Promise<void> {
    return this.repository.ensure(hooks);
  }

  /** Notes a client that may push, until what is returned is disposed of. */
  enter(): Disposable {
    this.#pushers += 1;
    const inside = new DisposableStack();
    inside.defer(() => {
      this.#pushers -= 1;
    });
    return inside;
  }

  /** Whether somebody is served who may push. */
  get isBusy(): boolean {
    return this.#pushers > 0;
  }

  /** Whether the branches are not to be aligned now, since somebody pushes; it is remembered that they must be. */
  postponesAlignment(): boolean {
    this.#isBehind = this.isBusy;
    return this.#isBehind;
  }

  /** Whether the branches were to be aligned while somebody pushed, and still are. */
  get isBehind(): boolean {
    return this.#isBehind;
  }
}

/**
 * Makes the branches say what runs: each environment has one, the branch it was last pushed with, at the commit of its
 * live release. Where git does not know that commit, as of an upload, there is none, so that a push of any commit has
 * something to do. Does nothing while a push is under way; the end of the last one does it.
 * @param environments all environments of one app
 */
export async function alignBranches(place: AppRepository, environments: Environment[]): Promise<void> {
  const { repository } = place;
  // Asked before the lock, too: a push may hold that for as long as its client takes to listen.
  if (place.postponesAlignment()) return;
  using _ = await place.refs.take();
  if (place.postponesAlignment() || !(await repository.isThere)) return;
  const { refs: wanted, head } = await wantedRefs(place, environments);
  const there = new Map([...(await repository.refs(heads)), ...(await repository.refs(kept))]);
  const changes = new Map<string, string | null>();
  for (const ref of there.keys()) if (!wanted.has(ref)) changes.set(ref, null);
  for (const [ref, commit] of wanted) if (there.get(ref) !== commit) changes.set(ref, commit);
  await repository.updateRefs(changes);
  await repository.setHead(head);
}

/** `head` is what a clone checks out: production, or a branch that is not there. */
async function wantedRefs(
  { repository }: AppRepository,
  environments: Environment[],
): Promise<{ refs: Map<string, string>; head: string }> {
  const refs = new Map<string, string>();
  let ofProduction: string | undefined;
  // In the order of importance: of two branches that exclude each other, the first is had.
  for (const environment of environments.toSorted((a, b) => rank(a) - rank(b))) {
    const [releases, active] = await Promise.all([environment.store.list(), environment.store.active()]);
    const live = releases.find(({ number }) => number === active?.release);
    const branch = releases.find(wasPushed)?.source.branch;
    if (rank(environment) === 0 && branch) ofProduction = branch;
    const commit = live && wholeCommit(live.source);
    const ref = `${heads}${branch}`;
    if (branch && commit && ![...refs.keys()].some((other) => other === ref || collide(other, ref))) {
      refs.set(ref, commit);
    }
    for (const release of releases) {
      const its = wholeCommit(release.source);
      if (its === null || release.liveAt === null) continue;
      if (await environment.store.hasTree(release.number)) {
        refs.set(`${kept}${environment.id.environment}/${release.number}`, its);
      }
    }
  }
  const known = await repository.having([...new Set(refs.values())]);
  const there = new Map([...refs].filter(([, commit]) => known.has(commit)));
  const head = ofProduction !== undefined && there.has(heads + ofProduction) ? ofProduction : 'main';
  return { refs: there, head };
}

function rank({ id }: Environment): number {
  return id.environment === defaultEnvironment ? 0 : 1;
}

function wasPushed({ source, liveAt }: ReleaseRecord): boolean {
  return source.kind === 'git' && source.branch !== null && liveAt !== null;
}

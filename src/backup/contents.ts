import { join } from 'node:path';
import { listEnvironmentsWithState } from '../config/environment-state.ts';
import { type EnvironmentId, environmentName, type Paths } from '../config/paths.ts';
import { type ReleaseRecord, wholeCommit } from '../releases/release.ts';
import { type Active, ReleaseStore } from '../releases/store.ts';
import { exists } from '../system/fs/exists.ts';
import { commitsIn } from './bundle.ts';
import type { Environment } from './format.ts';
import type { Owner } from './owners.ts';

/** Of one environment: what is to go in, and all releases that there are records of. */
export interface Contents extends Environment {
  target: EnvironmentId;
  active: Active | null;
  records: number[];
}

/**
 * What there is to back up of each environment. Without all releases, that is the files of a live one that could not
 * be built again from what is in a repository. It goes by names, which whoever owns the home may lead elsewhere: of what is
 * read here, nothing but names and numbers gets into a backup.
 */
export async function contentsOf(
  paths: Paths,
  owner: Owner,
  allReleases: boolean,
  note: (text: string) => void,
): Promise<Contents[]> {
  const contents: Contents[] = [];
  for (const target of await listEnvironmentsWithState(paths)) {
    const store = new ReleaseStore(target, paths.environment(target));
    // In this order: a deploy may switch meanwhile, and what is live then is in the list.
    const named = await store.active();
    const records = await store.list();
    const number = named?.release ?? null;
    const there: number[] = [];
    for (const each of records) {
      // Right after its switch it is not noted yet that it is live.
      if ((each.liveAt !== null || each.number === number) && (await store.hasTree(each.number)))
        there.push(each.number);
    }
    const record = records.find((each) => each.number === number);
    const isDamaged = number !== null && (record === undefined || !there.includes(number));
    // One app must not prevent the backup of the others.
    if (isDamaged)
      note(
        `the files of release ${number} of ${environmentName(target)} are missing, so a restore would have no live release; deploy the app again, then back it up`,
      );
    const [active, live] = isDamaged ? [null, null] : [named, number];
    const builds = record === undefined || (await canBeBuilt(paths.repository(target.app), record, owner));
    const trees = allReleases ? there : there.filter((number) => number === live && !builds);
    contents.push({ ...target, target, active, live, trees, records: records.map(({ number }) => number) });
  }
  return contents;
}

async function canBeBuilt(repository: string, { source }: ReleaseRecord, owner: Owner): Promise<boolean> {
  const commit = wholeCommit(source);
  if (commit === null || !(await exists(join(repository, 'HEAD')))) return false;
  return (await commitsIn(repository, [commit], owner)).has(commit);
}

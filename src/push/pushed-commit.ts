import { maxSettingsBytes, parseJsonSettings, tooLarge } from '../config/json-settings.ts';
import { loadAppSettings } from '../config/load.ts';
import type { Repository } from '../git/repository.ts';
import { noCommit, type ReleaseSource } from '../releases/release.ts';
import type { PushFacts, PushPlan } from './plan.ts';

/** What the plan of a push must know of a commit, read from where git keeps it until it is accepted. */
export function factsOf(repository: Repository): PushFacts {
  return {
    has: (commit) => repository.has(commit),
    typeOf: (object) => repository.typeOf(object),
    settingsIn: (commit) => loadAppSettings((name) => readTop(repository, commit, name)),
  };
}

async function readTop(repository: Repository, commit: string, name: string): Promise<unknown> {
  const file = await repository.file(commit, name);
  if (file === undefined) return undefined;
  if (file.size > maxSettingsBytes) throw tooLarge(name, file.size);
  return parseJsonSettings(await file.read(), name);
}

/**
 * What the record of a release says of the commit that it comes from.
 * @param live commit of the release that is live; null where none is, or git knows nothing of it
 */
export async function originOf(
  repository: Repository,
  { branch, update }: Extract<PushPlan, { action: 'deploy' }>,
  by: string,
  live: string | null,
): Promise<ReleaseSource> {
  const { id, author, message } = await repository.commit(update.new);
  const known = live !== null && (await repository.has(live));
  const changes = known ? await repository.changes(live, id) : null;
  const commits = changes?.commits ?? [];
  return {
    ...noCommit,
    ...{ kind: 'git', by, commit: id, branch, author, message },
    commits: commits.map((each) => ({ commit: each.id, author: each.author, subject: each.message })),
    commitCount: changes?.count ?? null,
  };
}

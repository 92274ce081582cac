import { loadAppSettings } from '../config/app-settings.ts';
import { maxSettingsBytes, parseJsonSettings, tooLarge } from '../config/settings-file.ts';
import type { Repository } from '../git/repository.ts';
import type { Notice } from '../protocol/runner.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { noCommit, type ReleaseSource } from '../releases/release.ts';
import { counted } from '../system/text/format.ts';
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

/**
 * What is live when the turn of a push has come, where it is not in it: somebody else may have deployed meanwhile, the
 * history may have been rewritten, or what is live was uploaded. The newest wins, but not without a word.
 * @param before what was live when the push began
 * @param now what is live
 */
export async function notInThisRelease(
  repository: Repository,
  commit: string,
  before: ReleaseRecord | null,
  now: ReleaseRecord | null,
): Promise<Notice | null> {
  const what = now && (await missingFrom(repository, commit, now.source));
  if (!now || !what) return null;
  const { author, by } = now.source;
  const when = now.number === before?.number ? 'is live' : 'went live meanwhile';
  return {
    code: 'not_in_this_release',
    message: `release ${now.number} of ${author ?? by} ${when}, and has what is not in this one (${what})`,
    hint: `The newest wins. To have both: merge that into yours, and push again. To go back: a rollback to release ${now.number}.`,
  };
}

/**
 * Describes commits of the live release that `commit` lacks. Null if `commit` lacks none, or if its history is cut too early
 * to know, as in CI. If git does not have the release's commit yet, the record describes that commit.
 */
async function missingFrom(
  repository: Repository,
  commit: string,
  { commit: its, message, changedFiles }: ReleaseSource,
): Promise<string | null> {
  if (its === null) return 'it was uploaded, from no commit';
  const told = `commit ${its.slice(0, 10)} ${message?.split('\n', 1)[0] ?? ''}`.trim();
  if (!(await repository.has(its))) return (await repository.isWhole(commit)) ? told : null;
  const count = await repository.lacking(commit, its);
  if (count) return count === 1 ? told : `${told}, and ${count - 1} before it`;
  return changedFiles === 0 ? null : counted(changedFiles, 'uncommitted file');
}

import type { Repository } from '../git/repository.ts';
import type { Notice } from '../protocol/runner.ts';
import type { ReleaseRecord, ReleaseSource } from '../releases/release.ts';
import { counted } from '../system/text/listing.ts';

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

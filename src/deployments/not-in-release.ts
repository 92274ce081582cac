import type { Repository } from '../git/repository.ts';
import type { Notice } from '../protocol/runner.ts';
import type { ReleaseRecord } from '../releases/release.ts';

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
  const missing = now && (await missingFrom(repository, commit, now));
  if (!now || !missing) return null;
  const { author, by } = now.source;
  const when = now.number === before?.number ? 'is live' : 'went live meanwhile';
  return {
    code: 'not_in_this_release',
    message: `release ${now.number} of ${author ?? by} ${when}, and has what is not in this one (${missing.what})`,
    hint: missing.fetchable
      ? 'The newest wins. To have both: fetch from here, merge, and push again.'
      : 'The newest wins. To have both, commit what was deployed there, and push again.',
  };
}

/** Null where the commit has all that the release has. */
async function missingFrom(
  repository: Repository,
  commit: string,
  { source }: ReleaseRecord,
): Promise<{ what: string; fetchable: boolean } | null> {
  const { commit: its, changedFiles } = source;
  if (its === null) return { what: 'it was uploaded, from no commit', fetchable: false };
  if (!(await repository.has(its)))
    return { what: `commit ${its.slice(0, 10)}, which is not here`, fetchable: false };
  const { commits, count } = await repository.changes(commit, its);
  const [first] = commits;
  if (first !== undefined) {
    const more = count > 1 ? ` and ${count - 1} before it` : '';
    return { what: `commit ${first.id.slice(0, 10)} ${first.message}${more}`, fetchable: true };
  }
  if (changedFiles === 0) return null;
  return { what: `${changedFiles} uncommitted file${changedFiles === 1 ? '' : 's'}`, fetchable: false };
}

import { type AppSettings, loadAppSettings } from '../config/app-settings.ts';
import { maxSettingsBytes, parseJsonSettings, unreadable } from '../config/settings-file.ts';
import type { Repository } from '../git/repository.ts';
import type { Notice } from '../protocol/runner.ts';
import { noCommit, type ReleaseRecord, type ReleaseSource } from '../releases/release.ts';
import { tooLarge } from '../system/fs/read-file.ts';
import { counted } from '../system/text/format.ts';
import type { PushPlan } from './plan.ts';

/** Returns the settings of the app in a commit. @throws AppError `invalid_settings` */
export function settingsIn(repository: Repository, commit: string): Promise<AppSettings> {
  return loadAppSettings(async (name) => {
    const file = await repository.file(commit, name);
    if (file === undefined) return undefined;
    if (file.size > maxSettingsBytes) throw unreadable(name, tooLarge(file.size, maxSettingsBytes));
    return parseJsonSettings(await file.read(), name);
  });
}

/**
 * Describes the commit of a push for the record of its release.
 * @param live commit of the live release; null if there is none
 */
export async function originOf(
  repository: Repository,
  { branch, update }: Extract<PushPlan, { action: 'deploy' }>,
  by: string,
  live: string | null,
): Promise<ReleaseSource> {
  const { id, author, message } = await repository.commit(update.new);
  const isKnown = live !== null && (await repository.has(live));
  const changes = isKnown ? await repository.changes(live, id) : null;
  const commits = changes?.commits ?? [];
  return {
    ...noCommit,
    ...{ kind: 'git', by, commit: id, branch, author, message },
    commits: commits.map((each) => ({ commit: each.id, author: each.author, subject: each.message })),
    commitCount: changes?.count ?? null,
  };
}

/**
 * Returns a notice if the live release has commits or files that the pushed commit lacks: another deploy went live meanwhile,
 * the history was rewritten, or the live release was uploaded. The newest push wins all the same.
 * @param before release that was live when the push began
 * @param now release that is live
 */
export async function missingNotice(
  repository: Repository,
  commit: string,
  before: ReleaseRecord | null,
  now: ReleaseRecord | null,
): Promise<Notice | null> {
  const missing = now && (await missingFrom(repository, commit, now.source));
  if (!now || !missing) return null;
  const { author, by } = now.source;
  const when = now.number === before?.number ? 'is live' : 'went live meanwhile';
  return {
    code: 'not_in_this_release',
    message: `Release ${now.number} of ${author ?? by} ${when}, and this release lacks ${missing}.`,
    hint: `To keep both, merge the missing commits and push again. To go back, roll back to release ${now.number}.`,
  };
}

/**
 * Describes the commits of the live release that `commit` lacks. Null if `commit` lacks none, or if its history is cut too early
 * to know, as in CI. If git does not have the release's commit yet, the record describes that commit.
 */
async function missingFrom(
  repository: Repository,
  commit: string,
  { commit: live, message, changedFiles }: ReleaseSource,
): Promise<string | null> {
  if (live === null) return 'its files, which were uploaded without a commit';
  const name = `commit ${live.slice(0, 10)} ${message?.split('\n', 1)[0] ?? ''}`.trim();
  if (!(await repository.has(live))) return (await repository.isWhole(commit)) ? name : null;
  const count = await repository.lacking(commit, live);
  if (count) return count === 1 ? name : `${name}, and ${counted(count - 1, 'commit')} before it`;
  return changedFiles === 0 ? null : counted(changedFiles, 'uncommitted file');
}

import type { Environment } from '../apps/environment.ts';
import { releaseNotFound } from '../apps/release-view.ts';
import { AppError } from '../errors/app-error.ts';
import type { Repository } from '../git/repository.ts';
import { wholeCommit } from '../releases/release.ts';
import type { DeploySource } from './deploy.ts';

/**
 * Returns the commit of an earlier release, to be built again. The files of the release are built and pruned already.
 * @throws AppError `release_not_found`, `commit_not_kept`
 */
export async function sourceOfCommit(
  { name, store }: Environment,
  repository: Repository,
  release: number,
  by: string,
): Promise<DeploySource> {
  const record = await store.get(release);
  if (record === undefined) throw releaseNotFound(name, release);
  const commit = wholeCommit(record.source);
  if (commit === null) throw notKept(name, release, 'the upload is not a whole commit');
  const known = (await repository.exists) && (await repository.has(commit));
  if (!known) throw notKept(name, release, `commit ${commit.slice(0, 10)} is not on the server`);
  // An upload names the branch of its directory, which was not pushed.
  const branch = record.source.kind === 'git' ? record.source.branch : null;
  const submodules = await repository.submodules(commit);
  return {
    origin: { ...record.source, kind: 'git', by, branch, commits: [], commitCount: null },
    body: repository.archive(commit),
    contentLength: null,
    submodules,
  };
}

function notKept(name: string, release: number, why: string): AppError {
  return new AppError('commit_not_kept', `release ${release} of ${name} cannot be built again: ${why}`, {
    hint: `Push the commit, or deploy its directory. To go back to the release as it was built: sluice rollback ${name} ${release}. To get new workers of the live release: sluice restart ${name}.`,
  });
}

import { join } from 'node:path';
import { shown } from '../build/receive/archive-errors.ts';
import { checkReceived } from '../build/receive/check-received.ts';
import { receiveArchive } from '../build/receive/receive.ts';
import { AppError } from '../errors/app-error.ts';
import type { ReleaseSource } from '../releases/release.ts';
import { exists } from '../system/fs/exists.ts';
import { counted, formatBytes, listSome } from '../system/text/format.ts';
import type { DeploySource } from './deploy.ts';
import type { Deployment } from './deployment.ts';

/**
 * Receives and unpacks the upload.
 * @returns the member of a workspace that is the app, from the setting `root`; '' if the release is the app
 * @throws AppError `upload_…`, `archive_…`, `disk_full`, `invalid_settings`
 */
export async function receive(deployment: Deployment, source: DeploySource): Promise<string> {
  deployment.enter('receive');
  const { signal, tree, environment } = deployment;
  const { body, contentLength, origin, submodules = [] } = source;
  for (const line of describeOrigin(origin)) deployment.log(line);
  const isFromGit = origin.kind === 'git';
  const { settings } = environment.appliance;
  // git has checked the upload limit for its objects. Its tar may be larger: the limits of the unpacked files apply to it.
  const limits = isFromGit ? { ...settings, maxUploadBytes: Number.MAX_SAFE_INTEGER } : settings;
  const { app } = environment.id;
  const options = { contentLength, signal, app, keepFolder: isFromGit };
  const received = await receiveArchive(body, tree, limits, options);
  const { uploadBytes, entries, extractedBytes, root, member } = received;
  const unpacked = `${entries} entries, ${formatBytes(extractedBytes)} unpacked`;
  deployment.log(isFromGit ? unpacked : `received ${formatBytes(uploadBytes)}: ${unpacked}`);
  const position = [root, member].filter(Boolean).join('/');
  if (member !== '')
    deployment.log(`the app is in ${position}, a member of the workspace ${root || 'at the top'}`);
  else if (root !== '') deployment.log(`the app is in ${root}`);
  for (const notice of checkReceived(received, isFromGit)) deployment.notice(notice);
  await assertNoSubmodules(tree, root, submodules);
  return member;
}

/** Number of new commits that the log of a deploy lists. */
const maxCommits = 5;

/** Returns log lines about the commit of a release, and the commits that are new in it. */
function describeOrigin(origin: ReleaseSource): string[] {
  const { commit, branch, author, message, directory, changedFiles, commits, commitCount } = origin;
  if (commit === null) return [];
  const [subject] = (message ?? '').split('\n');
  const words = [`commit ${commit.slice(0, 10)}`, branch && `of ${branch}`, author && `by ${author}`];
  const lines = [`${words.filter(Boolean).join(' ')}${subject ? `: ${subject}` : ''}`];
  if (directory) lines.push(`of it, ${directory}`);
  if (changedFiles > 0) lines.push(`with ${counted(changedFiles, 'uncommitted file')}`);
  // A single new commit is the commit of the release.
  if (commitCount === null || commitCount < 2) return lines;
  lines.push(`${commitCount} commits are new since the release that is live:`);
  for (const each of commits.slice(0, maxCommits)) {
    lines.push(`  ${each.commit.slice(0, 10)} ${each.subject}`);
  }
  if (commitCount > maxCommits) lines.push(`  and ${commitCount - maxCommits} more`);
  return lines;
}

/** Number of paths that an error names. */
const maxNamed = 3;

/**
 * Checks that the tree has no submodules, which git leaves empty. `export-ignore` leaves a submodule out.
 * @param root directory of the tree in the repository
 * @param submodules paths in the repository
 * @throws AppError `submodules_not_fetched`
 */
async function assertNoSubmodules(tree: string, root: string, submodules: string[]): Promise<void> {
  const missing: string[] = [];
  for (const path of submodules.flatMap((path) => pathBelow(root, path))) {
    if (await exists(join(tree, path))) missing.push(path);
  }
  if (missing.length === 0) return;
  throw new AppError(
    'submodules_not_fetched',
    `${listSome(missing, maxNamed, shown)}: ${missing.length === 1 ? 'a submodule' : 'submodules'}, and Sluice does not fetch those`,
    {
      hint: 'Remove the .git of the submodule and commit its files, depend on it as a package, or exclude it with `export-ignore` in .gitattributes. `sluice deploy` sends a directory with its submodules.',
    },
  );
}

/** Returns a path of the repository relative to `root`: `.` if `root` is in it, none if it is outside `root`. */
function pathBelow(root: string, path: string): string[] {
  if (root === '') return [path];
  if (`${root}/`.startsWith(`${path}/`)) return ['.'];
  return path.startsWith(`${root}/`) ? [path.slice(root.length + 1)] : [];
}

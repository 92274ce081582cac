import type { ReleaseSource } from '../releases/release.ts';
import { counted } from '../system/text/format.ts';

/** So many new commits are told one by one in the log of a deploy. */
const told = 5;

/** What git knows of a release, for its log: the commit, and what is new. */
export function describeOrigin(origin: ReleaseSource): string[] {
  const { commit, branch, author, message, directory, changedFiles, commits, commitCount } = origin;
  if (commit === null) return [];
  const [subject] = (message ?? '').split('\n');
  const words = [`commit ${commit.slice(0, 10)}`, branch && `of ${branch}`, author && `by ${author}`];
  const lines = [`${words.filter(Boolean).join(' ')}${subject ? `: ${subject}` : ''}`];
  if (directory) lines.push(`of it, ${directory}`);
  if (changedFiles > 0) lines.push(`with ${counted(changedFiles, 'uncommitted file')}`);
  // One new commit is this one.
  if (commitCount === null || commitCount < 2) return lines;
  lines.push(`${commitCount} commits are new since the release that is live:`);
  for (const each of commits.slice(0, told)) lines.push(`  ${each.commit.slice(0, 10)} ${each.subject}`);
  if (commitCount > told) lines.push(`  and ${commitCount - told} more`);
  return lines;
}

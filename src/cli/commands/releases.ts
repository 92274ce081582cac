import type { Command } from 'commander';
import { linesOf } from '../../client/api-client.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { Release } from '../../releases/release.ts';
import { counted, formatBytes, formatDuration } from '../../system/text/format.ts';
import { printableLine } from '../../system/text/printable.ts';
import { appPath, appSubcommand, type CommonOptions, call, connect, show, wholeNumber } from '../command.ts';
import { formatTime, hasColours, paint, print, printLine, stateColour, table } from '../output.ts';

export function registerReleaseCommands(program: Command): void {
  appSubcommand(program, 'releases <app> [number]', 'List the releases of an app, newest first, or show one')
    .option('--log', 'Print the build log of the release (default: the newest)')
    .action(releases);
  const cancelling = 'Cancel a deploy that has not reached its switch';
  appSubcommand(program, 'cancel <app> <number>', cancelling).action(cancel);
}

async function releases(
  id: EnvironmentId,
  number: string | undefined,
  options: CommonOptions & { log?: true },
): Promise<void> {
  if (number !== undefined) {
    const chosen = wholeNumber(number, 'release');
    if (options.log) return printBuildLog(id, chosen);
    return show(options, call<Release>('GET', appPath(id, `/releases/${chosen}`)), describeRelease);
  }
  const list = await call<Release[]>('GET', appPath(id, '/releases'));
  const [newest] = list;
  if (options.log && newest !== undefined) return printBuildLog(id, newest.number);
  const none = `${environmentName(id)} has no releases yet`;
  if (options.log) return print(none);
  await show(options, list, () => listReleases(list, none));
}

/** Prints the output of the build of a release. @throws AppError `release_not_found` */
export async function printBuildLog(id: EnvironmentId, release: number): Promise<void> {
  const log = await (await connect()).open('GET', appPath(id, `/releases/${release}/log`));
  for await (const line of linesOf(log)) await printLine(printableLine(line, hasColours()));
}

function cancel(id: EnvironmentId, number: string, options: CommonOptions): Promise<void> {
  const path = appPath(id, `/releases/${wholeNumber(number, 'release')}/cancel`);
  return show(
    options,
    call<Release>('POST', path),
    (release) => `release ${release.number} of ${environmentName(id)} is cancelled`,
  );
}

function listReleases(list: Release[], none: string): string {
  const rows = list.map((release) => [
    release.number,
    stateText(release),
    formatTime(release.createdAt),
    release.durationMs === null ? null : formatDuration(release.durationMs),
    release.sizeBytes === null ? null : formatBytes(release.sizeBytes),
    release.by,
    commitText(release),
    release.author,
    cut(subject(release), 50),
  ]);
  return table('RELEASE STATE CREATED TOOK SIZE BY COMMIT AUTHOR MESSAGE', rows, none);
}

/** Formats the commit as `1a2b3c4d5e`, with a `+` if the files differ from those of the commit. */
function commitText({ commit, directory, changedFiles }: Release): string {
  return commit === null ? '-' : `${commit.slice(0, 10)}${directory || changedFiles > 0 ? '+' : ''}`;
}

function subject({ message }: Release): string {
  return message?.split('\n', 1)[0] ?? '-';
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Describes the commit of a release, and the commits that are new since the release before. */
function describeCommit(release: Release): string[] {
  const { commit, branch, author, directory, changedFiles, commits, commitCount } = release;
  if (commit === null) return [];
  const words = [`commit ${commit}`, branch && `of ${branch}`, author && `by ${author}`];
  const uncommitted = changedFiles > 0 && `with ${counted(changedFiles, 'uncommitted file')}`;
  const parts = [words.filter(Boolean).join(' '), directory && `its directory ${directory}`, uncommitted];
  const lines = [`${parts.filter(Boolean).join(', ')}\n  ${subject(release)}`];
  if (commitCount !== null) {
    const list = commits.map((each) => `  ${each.commit.slice(0, 10)}  ${each.author}: ${each.subject}`);
    const more = commitCount > commits.length ? [`  and ${commitCount - commits.length} more`] : [];
    const head = `new since the release that was live before: ${commitCount || 'nothing'}`;
    lines.push([head, ...list, ...more].join('\n'));
  }
  return lines;
}

/** Formats the state, such as `live` or `failed (build_timeout)`. */
function stateText({ state, error }: Release): string {
  return paint(stateColour(state), error === null ? state : `${state} (${error.code})`);
}

function describeRelease(release: Release): string {
  const { number, createdAt, liveAt, by } = release;
  const live = liveAt === null ? 'never' : formatTime(liveAt);
  const row = [number, stateText(release), formatTime(createdAt), live, by];
  const head = table('RELEASE STATE CREATED LIVE BY', [row]);
  const notices = release.notices.map(({ message, hint }) => `note: ${message}\n  ${hint}`);
  const { error } = release;
  const failure = error === null ? [] : [`failed at ${error.step}: ${error.message}\n  ${error.hint}`];
  const { reverted } = release;
  const revert = reverted === undefined ? [] : [`reverted (${formatTime(reverted.at)}): ${reverted.reason}`];
  return [head, ...describeCommit(release), ...notices, ...failure, ...revert].join('\n\n');
}

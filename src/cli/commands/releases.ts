import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { Release } from '../../releases/release.ts';
import { counted, formatBytes, formatDuration } from '../../system/text/format.ts';
import { printBuildLog } from '../build-log.ts';
import { type AppOptions, appSubcommand, callApp } from '../command.ts';
import { wholeNumber } from '../numbers.ts';
import { formatTime, paint, print, printJson, stateColour, table } from '../output.ts';
import { parseTarget } from '../target.ts';

export function registerReleaseCommands(program: Command): void {
  appSubcommand(program, 'releases <app> [number]', 'the releases of an app, newest first, or one of them')
    .option('--log', 'print the build log of the release, or of the newest')
    .action(releases);
  appSubcommand(program, 'cancel <app> <number>', 'end a deploy that has not reached its switch').action(
    cancel,
  );
}

async function releases(
  name: string,
  number: string | undefined,
  options: AppOptions & { log?: true },
): Promise<void> {
  const target = parseTarget(name, options.environment);
  if (options.log) return printLog(target, number);
  if (number === undefined) {
    const list = await callApp<Release[]>('GET', target, '/releases');
    if (options.json) return printJson(list);
    return print(list.length === 0 ? `${environmentName(target)} has no releases yet` : listReleases(list));
  }
  const release = await callApp<Release>('GET', target, `/releases/${wholeNumber(number, 'the release')}`);
  if (options.json) printJson(release);
  else print(describeRelease(release));
}

/** Of the newest release where no number is given. */
async function printLog(target: EnvironmentId, number: string | undefined): Promise<void> {
  const wanted =
    number === undefined
      ? (await callApp<Release[]>('GET', target, '/releases'))[0]?.number
      : wholeNumber(number, 'the release');
  if (wanted === undefined) return print(`${environmentName(target)} has no releases yet`);
  await printBuildLog(target, wanted);
}

async function cancel(name: string, number: string, options: AppOptions): Promise<void> {
  const target = parseTarget(name, options.environment);
  const path = `/releases/${wholeNumber(number, 'the release')}/cancel`;
  const release = await callApp<Release>('POST', target, path);
  if (options.json) printJson(release);
  else print(`release ${release.number} of ${environmentName(target)} is cancelled`);
}

function listReleases(list: Release[]): string {
  return table([
    ['RELEASE', 'STATE', 'CREATED', 'TOOK', 'SIZE', 'BY', 'COMMIT', 'AUTHOR', 'MESSAGE'],
    ...list.map((release) => [
      String(release.number),
      stateText(release),
      formatTime(release.createdAt),
      release.durationMs === null ? '-' : formatDuration(release.durationMs),
      release.sizeBytes === null ? '-' : formatBytes(release.sizeBytes),
      release.by,
      commitText(release),
      release.author ?? '-',
      cut(subject(release), 50),
    ]),
  ]);
}

/** `1a2b3c4d5e`, with a mark where the files are not quite those of the commit. */
function commitText({ commit, directory, changedFiles }: Release): string {
  return commit === null ? '-' : `${commit.slice(0, 10)}${directory || changedFiles > 0 ? '+' : ''}`;
}

function subject({ message }: Release): string {
  return message?.split('\n', 1)[0] ?? '-';
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** What git knows of a release, and what it brings. */
function describeCommit(release: Release): string[] {
  const { commit, branch, author, directory, changedFiles, commits, commitCount } = release;
  if (commit === null) return [];
  const words = [`commit ${commit}`, branch && `of ${branch}`, author && `by ${author}`];
  const uncommitted = changedFiles > 0 && `with ${counted(changedFiles, 'uncommitted file')}`;
  const parts = [words.filter(Boolean).join(' '), directory && `of it ${directory}`, uncommitted];
  const lines = [`${parts.filter(Boolean).join(', ')}\n  ${subject(release)}`];
  if (commitCount !== null) {
    const list = commits.map((each) => `  ${each.commit.slice(0, 10)}  ${each.author}: ${each.subject}`);
    const more = commitCount > commits.length ? [`  and ${commitCount - commits.length} more`] : [];
    lines.push(
      [`new since the release that was live before: ${commitCount || 'nothing'}`, ...list, ...more].join(
        '\n',
      ),
    );
  }
  return lines;
}

/** `failed (build_timeout)`; the other states need no word more. */
function stateText({ state, error }: Release): string {
  return paint(stateColour(state), error === null ? state : `${state} (${error.code})`);
}

function describeRelease(release: Release): string {
  const head = table([
    ['RELEASE', 'STATE', 'CREATED', 'LIVE', 'BY'],
    [
      String(release.number),
      stateText(release),
      formatTime(release.createdAt),
      release.liveAt === null ? 'never' : formatTime(release.liveAt),
      release.by,
    ],
  ]);
  const notices = release.notices.map(({ message, hint }) => `note: ${message}\n  ${hint}`);
  const { error } = release;
  const failure = error === null ? [] : [`failed at ${error.step}: ${error.message}\n  ${error.hint}`];
  return [head, ...describeCommit(release), ...notices, ...failure].join('\n\n');
}

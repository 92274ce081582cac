import type { Command } from 'commander';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import type { Release } from '../../releases/release.ts';
import { counted, formatBytes, formatDuration } from '../../system/text/format.ts';
import { printableLine } from '../../system/text/printable.ts';
import {
  type AppOptions,
  appPath,
  appSubcommand,
  callApp,
  connect,
  parseEnvironment,
  wholeNumber,
} from '../command.ts';
import {
  formatTime,
  hasColours,
  paint,
  print,
  printLine,
  printOutcome,
  stateColour,
  table,
} from '../output.ts';

export function registerReleaseCommands(program: Command): void {
  appSubcommand(program, 'releases <app> [number]', 'List the releases of an app, newest first, or show one')
    .option('--log', 'Print the build log of the release (default: the newest)')
    .action(releases);
  const cancelling = 'Cancel a deploy that has not reached its switch';
  appSubcommand(program, 'cancel <app> <number>', cancelling).action(cancel);
}

async function releases(
  name: string,
  number: string | undefined,
  options: AppOptions & { log?: true },
): Promise<void> {
  const id = parseEnvironment(name, options.environment);
  if (number !== undefined) {
    const chosen = wholeNumber(number, 'release');
    if (options.log) return printBuildLog(id, chosen);
    const release = await callApp<Release>('GET', id, `/releases/${chosen}`);
    return printOutcome(options, release, () => describeRelease(release));
  }
  const list = await callApp<Release[]>('GET', id, '/releases');
  const [newest] = list;
  if (options.log && newest !== undefined) return printBuildLog(id, newest.number);
  const none = `${environmentName(id)} has no releases yet`;
  if (options.log) return print(none);
  printOutcome(options, list, () => (newest === undefined ? none : listReleases(list)));
}

/** Prints the output of the build of a release. @throws AppError `release_not_found` */
export async function printBuildLog(id: EnvironmentId, release: number): Promise<void> {
  const { linesOf } = await import('../../client/api-client.ts');
  const query = { environment: id.environment };
  const log = await (await connect()).open('GET', appPath(id, `/releases/${release}/log`), { query });
  for await (const line of linesOf(log)) await printLine(printableLine(line, hasColours()));
}

async function cancel(name: string, number: string, options: AppOptions): Promise<void> {
  const id = parseEnvironment(name, options.environment);
  const path = `/releases/${wholeNumber(number, 'release')}/cancel`;
  const release = await callApp<Release>('POST', id, path);
  printOutcome(options, release, () => `release ${release.number} of ${environmentName(id)} is cancelled`);
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

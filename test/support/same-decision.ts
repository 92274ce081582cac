import assert from 'node:assert/strict';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { knownVersions } from '../../src/build/node-version/known.ts';
import { type Preview, preview } from '../../src/cli/preview/preview.ts';
import type { EnvironmentId, EnvironmentPaths } from '../../src/config/paths.ts';
import { describeOrigins } from '../../src/config/settings-layers.ts';
import type { StepFailure } from '../../src/deploy/events.ts';
import { AppError, type ErrorBody } from '../../src/errors/app-error.ts';
import type { Notice } from '../../src/protocol/runner.ts';
import type { ReleaseRecord } from '../../src/releases/release.ts';
import type { Files } from './pack.ts';
import { writeTree } from './tree.ts';

/** Decisions that `sluice check` has shown, or why it has failed. */
export type Shown = { preview: Preview } | { error: ErrorBody };

/** Decisions of a deploy, up to its step `publish`, or why it has failed. */
export type Decided = { record: ReleaseRecord; log: string[] } | { error: Omit<StepFailure, 'step'> };

/** Returns what `sluice check` shows for a directory. */
export async function shownFor(directory: string, app: string, environment = 'production'): Promise<Shown> {
  try {
    return {
      preview: JSON.parse(JSON.stringify(await preview(directory, { app, environment }, () => undefined))),
    };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { error: error.toJSON() };
  }
}

/** Returns what `sluice check` shows for files. */
export async function shownForFiles(files: Files, app: string, environment?: string): Promise<Shown> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'sluice-test-'));
  await writeTree(directory.path, files);
  return await shownFor(directory.path, app, environment);
}

/** Returns what a deploy has decided, from the files of its release. */
export async function decidedBy(paths: EnvironmentPaths, number: number): Promise<Decided> {
  const { record, buildLog } = paths.release(number);
  const log = (await readFile(buildLog, 'utf8')).split('\n');
  return { record: JSON.parse(await readFile(record, 'utf8')), log };
}

/** Notices that do not depend on the files of the app alone, and what a deploy learns them from. */
const later: Record<string, string> = {
  mac_files_left_out: 'the program that makes the archive',
  data_left_behind: 'the live release',
  not_in_this_release: 'the commits of the live release',
  install_scripts_skipped: 'the install',
  not_pruned: 'the prune',
  dev_dependency_kept: 'the prune',
  hardcoded_port: 'the boot',
  process_fails: 'the processes after the switch',
  sigint_only: 'the boot',
  cluster_in_exec_mode: 'the boot',
  not_plain_http: 'the boot',
  domain_not_added: 'the domains of other apps',
};

/** Notices of decisions that may be open before the build. */
const ofOpen: Record<string, string[]> = {
  install: ['no_lockfile', 'other_package_manager'],
  // The install may show that a program is a script of another program.
  start: ['exec_mode'],
};

/** Errors of decisions that need only the files. */
const ofFiles = new Set([
  ...['encrypted_files', 'invalid_settings', 'lfs_not_fetched', 'nothing_to_run', 'unsupported_node_version'],
  ...['unsupported_package_manager', 'unsupported_start'],
]);

/** Checks that `sluice check` has shown what a deploy has decided: the same start, or the same error. */
export function assertSameDecision(shown: Shown, decided: Decided): void {
  if ('error' in shown) {
    const { code, message } = shown.error;
    assert.ok('error' in decided, `check rejects what a deploy accepts: ${code}, ${message}`);
    assert.deepEqual([code, message], [decided.error.code, decided.error.message]);
  } else if ('error' in decided) assertOnlyLater(shown.preview, decided.error);
  else assertSame(shown.preview, decided);
}

function assertSame(preview: Preview, { record, log }: Exclude<Decided, { error: unknown }>): void {
  assertSameNode(preview, record, log);
  const installs = log.filter((line) => /^(?:installs|builds) with /.test(line));
  if (!isOpen(preview, 'install')) assert.equal(installs.join('; '), preview.install ?? '');
  // The install has decided the rest.
  if (isOpen(preview, 'settings')) return;
  assertSameStart(preview, record, log);
  assert.deepEqual(record.run?.settings, preview.settings);
  assert.deepEqual(record.run?.origins, preview.origins);
  assert.deepEqual(
    record.run?.background.map(({ name, count }) => [name, count]),
    preview.processes.map(({ name, count }) => [name, count]),
  );
  const origins = describeOrigins(preview.origins);
  const shown = log.filter((line) => line.startsWith('settings: '));
  assert.deepEqual(shown, origins === '' ? [] : [`settings: ${origins}`]);
  assertSameNotices(preview, record);
}

/** Checks that a deploy has failed by what only the build, the boot or the server can show. */
function assertOnlyLater(preview: Preview, { code, message }: ErrorBody): void {
  if (!ofFiles.has(code)) return;
  assert.ok(preview.open.length > 0, `check accepts what a deploy rejects: ${code}, ${message}`);
}

function assertSameNode({ node }: Preview, record: ReleaseRecord, log: string[]): void {
  const { version = '' } = record.node ?? {};
  // The registry may have a version that this Sluice does not know.
  const isNewer = version !== process.versions.node && !knownVersions.includes(version);
  if (isNewer) assert.equal(version.split('.')[0], node.version.split('.')[0]);
  else assert.equal(version, node.version);
  assert.ok(log.includes(`Node.js ${version}: ${node.reason}`), node.reason);
}

function assertSameStart({ open, start, workers, settings }: Preview, record: ReleaseRecord, log: string[]) {
  if (workers.count === 0) return assert.ok(log.includes(start), start);
  const lines = log.map((line) => /^((?:starts|serves) .*), in (\d+) workers?$/.exec(line));
  const [, actual = '', count = ''] = lines.find((match) => match !== null) ?? [];
  const reason = open.find(({ decision }) => decision === 'start')?.reason;
  if (reason === undefined) assert.equal(actual, start);
  else assert.ok(isPossible(actual, start, reason), `${actual} is none of: ${start}. ${reason}`);
  // The build may write a shell script or a site, for which one worker is always enough.
  const isOne = record.run?.exec !== undefined || record.run?.static !== undefined;
  if (reason !== undefined && settings.workers === 'auto' && isOne) return assert.equal(count, '1');
  assert.equal(count, String(workers.count));
  if (workers.reason !== null) assert.ok(log.includes(workers.reason), workers.reason);
}

/** Returns true if the build may have led to this start. @param reason why the start was open */
function isPossible(actual: string, shown: string, reason: string): boolean {
  const names =
    /^The build decides which file starts the app: the first that exists of (.+), or else an index\.html\.$/;
  const named = names.exec(reason)?.[1]?.split(', ');
  if (named !== undefined)
    return actual.startsWith('serves ') || named.some((file) => startsWith(actual, file));
  if (reason === 'The build decides which file starts the app.') return true;
  if (reason === 'The build decides which directory has the site.')
    return actual.startsWith('serves ') ? ruleOf(actual) === ruleOf(shown) : /\(program of /.test(actual);
  const program = /^The install decides which file is the program (.+)\.$/.exec(reason)?.[1];
  if (program !== undefined) return ruleOf(actual) === ruleOf(shown) || startsWith(actual, `\`${program}`);
  const written = /^The build must write (.+)\.$/.exec(reason)?.[1] ?? '';
  return (
    ['', 'build/', 'dist/'].some((at) => startsWith(actual, at + written)) && ruleOf(actual) === ruleOf(shown)
  );
}

/** Returns true for the start of a file, in a pattern of which `*` stands for a directory. */
function startsWith(description: string, pattern: string): boolean {
  const [before = '', after] = `starts with ${pattern}`.split('*');
  return description.startsWith(before) && (after === undefined || description.includes(after));
}

/** Returns the rule in the description of a start. */
function ruleOf(description: string): string {
  return description.slice(description.indexOf(' ('));
}

function assertSameNotices(preview: Preview, { notices }: ReleaseRecord): void {
  const open = preview.open.flatMap(({ decision }) => ofOpen[decision] ?? []);
  const isLater = (code: string) =>
    Object.hasOwn(later, code) || /_failed$/.test(code) || open.includes(code);
  const compared = (all: Notice[]) => all.filter(({ code }) => !isLater(code)).map(({ message }) => message);
  assert.deepEqual(compared(notices).sort(), compared(preview.notices).sort());
}

function isOpen({ open }: Preview, decision: Preview['open'][number]['decision']): boolean {
  return open.some((each) => each.decision === decision);
}

/** Comparison of a deploy with what `sluice check` shows for the same files. */
export interface Comparison {
  live(number: number): Promise<void>;
  failed(error: ErrorBody): void;
}

/** Files whose deploy was compared, as JSON. */
const compared = new Set<string>();

/** Begins a comparison, before the deploy. Compares the same files once. */
export async function comparison(
  paths: EnvironmentPaths,
  { app, environment }: EnvironmentId,
  files: Files,
): Promise<Comparison> {
  const key = `${app}@${environment} ${JSON.stringify(files)}`;
  if (compared.has(key)) return { live: async () => undefined, failed: () => undefined };
  compared.add(key);
  const shown = await shownForFiles(files, app, environment);
  return {
    live: async (number) => assertSameDecision(shown, await decidedBy(paths, number)),
    failed: (error) => assertSameDecision(shown, { error }),
  };
}

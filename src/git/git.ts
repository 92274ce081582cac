import type { ChildProcess } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';
import { PassThrough, type Readable } from 'node:stream';
import { AppError, systemCode } from '../errors/app-error.ts';
import { OutputTooLong, ownEnvironment, run, spawn } from '../system/process/run.ts';

/** How long one command may take, in ms: the longest look at a whole history. */
const timeout = 120_000;

/** The longest output of one command that is taken into memory, in bytes. */
const maxOutput = 16 * 1024 ** 2;

/**
 * Runs one git command on a repository and gives what it printed.
 * @param env beside our own: where a push keeps its objects until it is accepted
 * @throws AppError `git_missing`; an Error with what git said, where it fails
 */
export async function git(
  repository: string,
  args: string[],
  { env = {}, input }: { env?: Record<string, string>; input?: string } = {},
): Promise<string> {
  const options = { env: gitEnvironment(env), maxOutput, timeout, ...(input !== undefined && { input }) };
  try {
    return (await run('git', [`--git-dir=${repository}`, ...args], options)).stdout;
  } catch (error) {
    throw explainStart(error) ?? explainSize(error) ?? failed(args, error as Error & { stderr?: string });
  }
}

/** Longest record that `gitRecords` accepts, in characters: longer than any path of a system. */
const longestRecord = 64 * 1024;

/**
 * Runs one git command and yields its output in groups of records that end with NULs. Memory does not grow with the number of
 * records. Ends git when the reader stops.
 * @throws AppError `git_missing`, `git_failed` for a record that is too long; an Error with the message of git, if git fails
 */
export async function* gitRecords(
  repository: string,
  args: string[],
  env: Record<string, string> = {},
): AsyncGenerator<string[]> {
  const child = spawn('git', [`--git-dir=${repository}`, ...args], {
    env: gitEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
  });
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  // A reader that stops early does not wait for the exit.
  exit.catch(() => undefined);
  try {
    // Without a process there are no streams.
    if (child.pid === undefined) await exit;
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(0, 2000);
    });
    let rest = '';
    for await (const text of child.stdout.setEncoding('utf8')) {
      const records = (rest + text).split('\0');
      rest = records.pop() ?? '';
      if (rest.length > longestRecord) throw tooLong(longestRecord);
      yield records;
    }
    const code = await exit;
    if (code !== 0)
      throw failed(args, new Error(complaint.trim() || `exit status ${code ?? child.signalCode}`));
  } catch (error) {
    throw explainStart(error) ?? error;
  } finally {
    child.kill();
  }
}

function failed(args: string[], cause: Error & { stderr?: string }): Error {
  return new Error(`git ${args[0]} failed: ${cause.stderr?.trim() || cause.message}`, { cause });
}

/** That git has more to say than anybody should have to hear; undefined where something else is wrong. */
function explainSize(error: unknown): AppError | undefined {
  if (!(error instanceof OutputTooLong)) return undefined;
  return tooLong(maxOutput, error);
}

function tooLong(limit: number, cause?: unknown): AppError {
  return new AppError('git_failed', `git prints more than ${limit} bytes about this repository`, {
    hint: 'Delete refs that you do not need, and shorten commit messages and paths.',
    cause,
  });
}

/** That there is no git; undefined where something else is wrong. */
export function explainStart(error: unknown): AppError | undefined {
  if (systemCode(error) !== 'ENOENT') return undefined;
  return new AppError('git_missing', 'there is no git in the PATH of the server', {
    hint: 'Install it on the server (Debian: `apt-get install git`).',
    cause: error,
  });
}

/**
 * What git runs with: no configuration but the repository's own and ours, since one of the machine's could refuse a ref
 * that has been deployed already, or leave files out; and none of our secrets.
 */
export function gitEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return ownEnvironment({
    LC_ALL: 'C.UTF-8',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'core.attributesFile',
    GIT_CONFIG_VALUE_0: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    ...extra,
  });
}

/** Below live traffic: to unpack a large push, or to read a large tree, takes a core for a while. */
const niceness = 10;

/** Only ever downwards: nobody but root may raise a process that has been started with less. */
export function lower({ pid }: ChildProcess): void {
  if (pid !== undefined && getPriority() < niceness) setPriority(pid, niceness);
}

/**
 * The tree of a commit as a tar, without what `export-ignore` in its .gitattributes leaves out. Ended where whoever reads
 * it destroys it; fails with an AppError where git does.
 */
export function archiveCommit(repository: string, commit: string, env: Record<string, string>): Readable {
  const output = new PassThrough();
  // It may fail before anybody reads it: whoever comes to do so is told then.
  output.on('error', () => undefined);
  const child = spawn('git', [`--git-dir=${repository}`, 'archive', '--format=tar', commit], {
    env: gitEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.once('error', (error) => output.destroy(explainStart(error) ?? error));
  // Without it there are no streams either: the system has no room for one more process, or file.
  if (child.pid === undefined) return output;
  lower(child);
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, 2000);
  });
  child.stdout.pipe(output, { end: false });
  // Not 'exit': what it has written may still be on its way then.
  child.once('close', (code) => {
    if (code === 0) output.end();
    else output.destroy(archiveFailed(commit, complaint));
  });
  output.once('close', () => child.kill());
  return output;
}

function archiveFailed(commit: string, complaint: string): AppError {
  return new AppError('git_failed', `git could not read commit ${commit.slice(0, 10)}: ${complaint.trim()}`, {
    hint: '`git fsck` on your machine tells what is wrong with the repository.',
  });
}

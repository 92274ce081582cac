import type { ChildProcess } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';
import { PassThrough, type Readable } from 'node:stream';
import { AppError, systemCode } from '../errors/app-error.ts';
import { OutputTooLong, ownEnvironment, ProgramFailed, run, spawn } from '../system/process/run.ts';

/** Programs of git that serve a client: one receives a push, the other serves a fetch. */
export const gitPrograms = ['git-receive-pack', 'git-upload-pack'] as const;
export type GitProgram = (typeof gitPrograms)[number];

/** Ways to talk with a client: `duplex` over ssh; two requests over HTTP, `advertise` for the list of refs, then `stateless`. */
export type GitMode = 'duplex' | 'advertise' | 'stateless';

/** Time limit of one command, in ms: enough to walk a whole history. */
const timeout = 120_000;

/** Limit of the output of one command, in bytes: room for the 100,000 directories of a very large repository. */
const maxOutput = 16 * 1024 ** 2;

/**
 * Runs one git command on a repository and returns its output.
 * @param variables of git, such as those that name the objects of a push
 * @throws AppError `git_missing`, `git_failed` for too much output; an Error with the message of git, if git fails
 */
export async function git(
  repository: string,
  args: string[],
  variables: Record<string, string> = {},
  input = '',
): Promise<string> {
  const options = { env: gitEnvironment(variables), input, timeout, maxOutput };
  try {
    const { stdout } = await run('git', [`--git-dir=${repository}`, ...args], options);
    return stdout;
  } catch (error) {
    if (error instanceof OutputTooLong) {
      throw new AppError('git_failed', `git prints more than ${maxOutput} bytes about this repository`, {
        hint: 'Delete refs that you do not need, and shorten commit messages and paths.',
      });
    }
    if (!(error instanceof ProgramFailed)) throw explainStart(error) ?? error;
    throw new Error(`git ${args[0]} failed: ${error.message.slice(0, 2000)}`);
  }
}

/**
 * Returns the files of a commit as a tar, without those that `export-ignore` in .gitattributes names. Ends git if the stream is
 * destroyed. The stream fails with AppError `git_missing` or `git_failed`. There is no time limit, because a large tree may
 * take long.
 */
export function gitArchive(repository: string, commit: string, env: Record<string, string>): Readable {
  const output = new PassThrough();
  // git may fail before anybody reads. Readers find the error in the state of the stream.
  output.on('error', () => undefined);
  const child = spawn('git', [`--git-dir=${repository}`, 'archive', '--format=tar', commit], {
    env: gitEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.once('error', (error) => output.destroy(explainStart(error) ?? error));
  // Without a process there are no streams: the system has no room for one more process, or file.
  if (child.pid === undefined) return output;
  lowerPriority(child);
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(0, 2000);
  });
  child.stdout.pipe(output, { end: false });
  // At `exit`, output may still be on its way.
  child.once('close', (code, signal) => {
    if (code === 0) output.end();
    else output.destroy(unreadable(commit, complaint.trim() || `exit status ${code ?? signal}`));
  });
  output.once('close', () => child.kill());
  return output;
}

function unreadable(commit: string, why: string): AppError {
  return new AppError('git_failed', `git could not read commit ${commit.slice(0, 10)}: ${why}`, {
    hint: 'Run `git fsck` on your machine to find what is wrong with the repository.',
  });
}

/** Returns the error to report if git is not installed; undefined for any other error. */
export function explainStart(error: unknown): AppError | undefined {
  if (systemCode(error) !== 'ENOENT') return undefined;
  return new AppError('git_missing', 'git not found in the PATH of the server', {
    hint: 'Install it on the server (Debian: `apt-get install git`).',
    cause: error,
  });
}

/** Priority below that of apps: unpacking a large push or reading a large tree takes a processor for a while. */
const niceness = 10;

/** Lowers the priority of a process. Only root may raise the priority of a process that was started with a lower one. */
export function lowerPriority({ pid }: ChildProcess): void {
  if (pid !== undefined && getPriority() < niceness) setPriority(pid, niceness);
}

/**
 * Returns the variables that git runs with. git reads the configuration of the repository and ours, but none of the machine,
 * which could refuse a ref whose release is live already, or leave files out. git gets no secrets of ours.
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

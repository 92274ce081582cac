import { spawn } from 'node:child_process';
import { PassThrough, type Readable } from 'node:stream';
import { AppError } from '../errors/app-error.ts';
import { explainStart, gitEnvironment } from './git.ts';
import { lower } from './priority.ts';

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
    else output.destroy(failed(commit, complaint));
  });
  output.once('close', () => child.kill());
  return output;
}

function failed(commit: string, complaint: string): AppError {
  return new AppError('git_failed', `git could not read commit ${commit.slice(0, 10)}: ${complaint.trim()}`, {
    hint: '`git fsck` on your machine tells what is wrong with the repository.',
  });
}

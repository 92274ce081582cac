import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { promisify } from 'node:util';
import { pm2Version } from './programs.ts';
import type { Machine } from './results.ts';

const run = promisify(execFile);

/** Describes this machine and the programs that the benchmark compares. */
export async function describeMachine(): Promise<Machine> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cores: availableParallelism(),
    memory: Math.round(totalmem() / 1e9),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(release)?.[1] ?? process.platform,
    node: process.versions.node,
    pm2: await pm2Version(),
  };
}

/** Returns the short hash of the commit of this checkout, with a mark if files have changed since; empty without git. */
export async function currentCommit(): Promise<string> {
  const cwd = import.meta.dirname;
  const git = (...args: string[]) => run('git', args, { cwd }).then(({ stdout }) => stdout.trim());
  const commit = await git('rev-parse', '--short', 'HEAD').catch(() => '');
  const changes = commit && (await git('status', '--porcelain', '--untracked-files=no', '--', '../src'));
  return changes ? `${commit} with changes` : commit;
}

import { readlink, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import coerce from 'semver/functions/coerce.js';
import satisfies from 'semver/functions/satisfies.js';
import { ifThere } from '../system/fs/exists.ts';
import { variableOf } from '../system/process/processes.ts';
import { isOnPath, ownEnvironment, runAs } from '../system/process/run.ts';
import { type Finding, fault, ok, warning } from './check.ts';
import type { ServerReport, Snapshot } from './snapshot.ts';

/** Programs that the server, the runner and the relay cannot work without. */
const needed = ['git', 'mkfifo', 'sh', 'cat', 'nice'];

/** Oldest version of git that GIT_CONFIG_GLOBAL keeps from reading other configuration. */
const oldestGit = '2.32.0';

/** Checks that the PATH of the server has all programs that Sluice starts. */
export async function* checkPrograms({ server, paths }: Snapshot): AsyncIterable<Finding> {
  const path = serverPath(server);
  const missing: string[] = [];
  for (const program of needed) if (!(await isOnPath(program, path))) missing.push(program);
  if (missing.length > 0) {
    return yield fault(
      `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not in ${path || 'the PATH, which is empty'}`,
      'Install them, or start Sluice with a PATH that has them. On Debian: apt-get install git coreutils',
    );
  }
  const git = await versionOf('git', paths.home, { PATH: path });
  if (git instanceof Error) return yield fault(`git does not run: ${git.message}`, 'Install git again.');
  const version = /\d+(?:\.\d+)+/.exec(git)?.[0] ?? git;
  if (!satisfies(coerce(version) ?? '', `>=${oldestGit}`)) {
    yield fault(
      `git ${version} is too old: ${oldestGit} is the oldest that Sluice works with`,
      'Install a newer git, and put it first in the PATH that Sluice is started with.',
    );
  }
  yield ok(`${needed.join(', ')} are installed, git ${version}`);
}

const root = resolve(import.meta.dirname, '../..');

/** Checks that the Node.js of Sluice runs, which apps use too, and npm, which most apps are built with. */
export async function* checkNode({ server, paths }: Snapshot): AsyncIterable<Finding> {
  const node = await versionOf(join(root, 'libexec/node'), paths.home, {});
  if (node instanceof Error) {
    return yield fault(
      `the Node.js of Sluice does not run: ${node.message}`,
      node.message.includes('libatomic')
        ? 'Debian: apt-get install libatomic1'
        : 'Install Sluice again: `./install.sh`, or `npm ci` in a checkout.',
    );
  }
  if (server.state === 'up' && (await isReplaced(server.status.server.pid))) {
    return yield warning(
      'the server runs on a Node.js whose file has been replaced',
      'Restart Sluice. Apps use the new Node.js from their next deploy or restart on.',
    );
  }
  const path = `${join(root, 'runtime/bin')}:${serverPath(server)}`;
  const npm = await versionOf('npm', paths.home, { PATH: path, npm_config_logs_max: '0' });
  if (npm instanceof Error) {
    yield warning(
      `npm does not run, so apps with packages cannot be built: ${npm.message}`,
      'Install it (Debian: apt-get install npm), or add it to the PATH of Sluice.',
    );
  } else yield ok(`Node.js ${node.replace(/^v/, '')} and npm ${npm} run`);
}

/** Returns true if the file of a running program was replaced: the kernel marks the path. */
async function isReplaced(pid: number): Promise<boolean> {
  const path = await readlink(`/proc/${pid}/exe`).catch(() => '');
  return path.endsWith(' (deleted)');
}

/** Asks a program for its version, as the owner of the home: their PATH names the program, so root must not run it. */
async function versionOf(
  program: string,
  home: string,
  env: Record<string, string>,
): Promise<string | Error> {
  const owner = (await ifThere(stat(home))) ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  try {
    // On a busy machine this takes seconds, although the programs work.
    const stdout = await runAs(owner, [program, '--version'], { env: ownEnvironment(env), timeout: 30_000 });
    return stdout.trim();
  } catch (error) {
    return error as Error;
  }
}

/** Returns the PATH of the server, which differs from that of a shell under a service manager. */
function serverPath(server: ServerReport): string {
  const own = process.env['PATH'] ?? '';
  if (server.state !== 'up') return own;
  return variableOf(server.status.server.pid, 'PATH') ?? own;
}

import { isOnPath, ownEnvironment, runAs } from '../system/process/run.ts';
import { type Check, fault, ok, type Patient } from './check.ts';
import { ownerOf, serverPath } from './server-path.ts';

/** All that the server, the runner and the relay start by name; what is used where it is there, such as ionice, is not in it. */
const needed = ['git', 'mkfifo', 'sh', 'cat', 'nice'];

/** From it on, git keeps the system's and the user's configuration out where it is told to (GIT_CONFIG_GLOBAL). */
const oldestGit = [2, 32] as const;

/** Whether the programs are there that Sluice starts. */
export async function checkPrograms({ server, paths }: Patient): Promise<Check> {
  const path = await serverPath(server);
  const missing: string[] = [];
  for (const program of needed) if (!(await isOnPath(program, path))) missing.push(program);
  if (missing.length > 0) {
    return fault(
      'programs',
      `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not in ${path === '' ? 'the PATH, which is empty' : path}`,
      'Install them, or start Sluice with a PATH that has them. On Debian: apt-get install git coreutils',
    );
  }
  const git = await gitVersion(path, paths.home);
  if ('failure' in git) return fault('programs', `git does not run: ${git.failure}`, 'Install it anew.');
  const { version } = git;
  if (isRecent(version)) return ok('programs', `${needed.join(', ')} are there, git ${version}`);
  return fault(
    'programs',
    `git ${version} is too old: ${oldestGit.join('.')} is the oldest that Sluice works with`,
    'Install a newer one, and see that it comes first in the PATH that Sluice is started with.',
  );
}

/** By the user of the home, since which git comes first in its PATH is up to them: root runs nothing of theirs. */
async function gitVersion(path: string, home: string): Promise<{ version: string } | { failure: string }> {
  try {
    // On a machine with too much to do this takes seconds, and is no fault of git's.
    const options = { env: ownEnvironment({ PATH: path }), timeout: 30_000 };
    const stdout = await runAs(await ownerOf(home), ['git', '--version'], options);
    return { version: /\d+(?:\.\d+)+/.exec(stdout)?.[0] ?? stdout.trim() };
  } catch (error) {
    return { failure: (error as Error).message };
  }
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > oldestGit[0] || (major === oldestGit[0] && minor >= oldestGit[1]);
}

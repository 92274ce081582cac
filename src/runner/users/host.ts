import { realpathSync, statSync } from 'node:fs';
import { givesAppUsers } from '../../config/app-user.ts';
import type { Paths } from '../../config/paths.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import type { EnvironmentFiles } from './environment-files.ts';
import type { Users } from './users.ts';

/** What a runner stands on: where it writes, and who is who. It is another matter for one that is root. */
export interface Host {
  /** undefined where all runs as the one user that we are */
  users: Users | undefined;
  /** the same */
  files: EnvironmentFiles | undefined;
  lock: string;
  /** of our sockets, and in it of FIFOs and records: a path to be used by ourselves */
  run: { directory: string; outputs: string; processes: string };
  /** A directory of a target, by a path that nobody can make lead elsewhere. @throws where it is not as it must be */
  readonly at: (directory: string) => string;
  /** A spec with the paths that are those of its target, whatever whoever asks says. */
  settle(spec: GenerationSpec): GenerationSpec;
  /** Makes a socket of ours the server's. */
  giveToServer(path: string): void;
}

/**
 * A runner that is root, for a home that is not root's, has users. What deals with them is loaded only then.
 * @param warn told what was not as it must be, and was put right
 */
export async function findHost(paths: Paths, warn: (message: string) => void): Promise<Host> {
  const owner = statSync(paths.home, { throwIfNoEntry: false })?.uid ?? 0;
  if (!givesAppUsers(owner)) return unprivilegedHost(paths);
  const { PrivilegedHost } = await import('./privileged-host.ts');
  const { Users } = await import('./users.ts');
  return new PrivilegedHost(paths, realpathSync(paths.home), new Users(paths, owner), warn);
}

function unprivilegedHost(paths: Paths): Host {
  return {
    users: undefined,
    files: undefined,
    lock: paths.runnerLock,
    run: { directory: paths.run, outputs: paths.outputs, processes: paths.processes },
    at: (directory) => directory,
    settle: (spec) => spec,
    giveToServer: () => undefined,
  };
}

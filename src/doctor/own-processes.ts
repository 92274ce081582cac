import type { Paths } from '../config/paths.ts';
import { listDirectory } from '../system/fs/files.ts';
import type { Patient } from './check.ts';

/** Processes of Sluice and of all apps: those that it tells of, and those that it has on record. */
export async function ownProcesses({ server, paths }: Patient): Promise<Set<number>> {
  const pids = new Set(await recorded(paths));
  if (server.state !== 'up') return pids;
  const { apps, runner, server: own } = server.status;
  pids.add(own.pid);
  if (runner !== null) pids.add(runner.pid);
  for (const { workers, background } of apps) {
    for (const { pid } of [...workers, ...background]) if (pid !== null) pids.add(pid);
  }
  return pids;
}

/** There is a file for each, named by its pid, and it may have ended since. */
async function recorded({ processes }: Paths): Promise<number[]> {
  return (await listDirectory(processes)).flatMap((name) => /^\d+/.exec(name)?.[0] ?? []).map(Number);
}

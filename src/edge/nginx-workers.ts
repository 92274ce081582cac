import { listPids, parentOf, titleOf } from '../system/process/processes.ts';

/**
 * Notes the workers that nginx has, before it is told to reload: for some 100 ms it has them and their successors, and
 * either may be given a connection.
 * @param master pid of nginx; undefined where it does not run
 * @returns whether none of them takes connections any more
 */
export async function noteWorkers(master: number | undefined): Promise<() => Promise<boolean>> {
  if (master === undefined) return async () => true;
  const before = await acceptingWorkers(master);
  return async () => before.isDisjointFrom(await acceptingWorkers(master));
}

/**
 * A worker that is to end says so in its title before it closes its listeners, in one turn of its event loop: from then
 * on it is given no connection, and finishes what it has (source: nginx's ngx_worker_process_cycle).
 */
async function acceptingWorkers(master: number): Promise<Set<number>> {
  const workers = new Set<number>();
  for (const pid of await listPids()) {
    if ((await parentOf(pid)) !== master) continue;
    if (isAccepting((await titleOf(pid)) ?? '')) workers.add(pid);
  }
  return workers;
}

function isAccepting(title: string): boolean {
  return title.startsWith('nginx: worker process') && !title.includes('shutting down');
}

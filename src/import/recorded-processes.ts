import { AppError } from '../errors/app-error.ts';
import { listProcesses, type Pm2 } from './pm2-daemon.ts';
import { type Pm2Process, parseProcessList } from './pm2-list.ts';
import type { TakeoverRecord } from './records.ts';

/** Processes of a takeover that PM2 has now. */
export interface RecordedProcesses {
  /** ids of those that run, and of the others */
  running: number[];
  stopped: number[];
  /** recorded names that PM2 no longer has */
  missing: string[];
}

/**
 * Finds the processes of a takeover by their names: PM2 may have given their ids to other apps. Of several processes with a name,
 * those with the recorded ids count as long as all ids fit.
 * @throws AppError `pm2_failed`, `invalid_pm2_list`, `takeover_failed` for a PM2 that the record is not about
 */
export async function findRecorded(pm2: Pm2, record: TakeoverRecord): Promise<RecordedProcesses> {
  const { ids, names, user, home } = record;
  if (user !== pm2.user.name || home !== pm2.home)
    throw new AppError('takeover_failed', `the takeover was from another PM2: ${home} (${user})`, {
      hint: `Name the user of that PM2 (--user ${user}), or its directory in the variable PM2_HOME.`,
    });
  const list = parseProcessList(await listProcesses(pm2), '`pm2 jlist`');
  const named = list.filter(({ name }) => names.includes(name));
  const recorded = named.filter(({ pm_id: id }) => id !== undefined && ids.includes(id));
  const found = recorded.length === ids.length ? recorded : named;
  const idsOf = (processes: Pm2Process[]) => processes.flatMap(({ pm_id: id }) => id ?? []);
  return {
    running: idsOf(found.filter(isRunning)),
    stopped: idsOf(found.filter((process) => !isRunning(process))),
    missing: names.filter((name) => !found.some((process) => process.name === name)),
  };
}

function isRunning({ status = 'online' }: Pm2Process): boolean {
  return status === 'online' || status === 'launching';
}

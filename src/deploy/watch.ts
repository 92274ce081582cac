import type { Environment } from '../apps/environment.ts';
import { writeHistory } from '../apps/history.ts';
import type { Reverted, SwitchResult } from '../protocol/runner.ts';
import type { ReleaseRecord } from '../releases/release.ts';

/**
 * Waits until the runner no longer compares a release with the one before, and records a return to that one. Never rejects: if the
 * runner is lost, the next connection to it records the return.
 * @param reverted called after a return
 */
export function followWatch(
  environment: Environment,
  { number }: Pick<ReleaseRecord, 'number'>,
  { generation }: Pick<SwitchResult, 'generation'>,
  reverted: () => Promise<void>,
): void {
  const { appliance, name } = environment;
  const follow = async () => {
    try {
      await appliance.runner.call('watched', { key: name, generation });
      if (await recordRevert(environment)) await reverted();
    } catch (error) {
      appliance.log.warn('watch not followed', { app: name, release: number, error });
    }
  };
  const watch = { release: number, ended: follow() };
  environment.watch = watch;
  void watch.ended.then(() => {
    if (environment.watch === watch) environment.watch = undefined;
  });
}

/**
 * Records that the runner has returned to the release before, once for each return. The generation file has the facts, so nothing is
 * lost if this server did not run.
 * @returns true if there was a return that was not on record
 */
export async function recordRevert(environment: Environment): Promise<boolean> {
  const active = await environment.store.active();
  const reverted = active?.reverted;
  if (reverted === undefined || environment.lastRevert === reverted.at) return false;
  const former = environment.lastRevert;
  // Another caller does not record it meanwhile.
  environment.lastRevert = reverted.at;
  try {
    return await writeRevert(environment, reverted, active?.release);
  } catch (error) {
    // The next connection to the runner tries again.
    environment.lastRevert = former;
    throw error;
  }
}

async function writeRevert(
  { appliance, id, name: app, store }: Environment,
  reverted: Reverted,
  to: number | undefined,
): Promise<boolean> {
  const { release, reason } = reverted;
  const record = await store.get(release);
  if (record === undefined || record.reverted?.at === reverted.at) return false;
  await store.markLive(release, new Date(reverted.at));
  await store.update(release, { reverted: { at: reverted.at, reason } });
  appliance.log.warn('release reverted', { app, release, to, reason });
  await writeHistory(appliance, { ...id, action: 'revert', by: 'sluice', release, outcome: 'done', reason });
  return true;
}

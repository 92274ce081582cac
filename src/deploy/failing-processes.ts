import type { Environment } from '../apps/environment.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import type { BackgroundStatus, Notice } from '../protocol/runner.ts';
import { hasWorkers, type ReleaseRecord } from '../releases/release.ts';

/**
 * Returns notices about background processes that fail soon after the switch, one for each name. Waits for up to `settleTime`. The
 * release stays live. Without workers, failing processes have failed the boot before. Never rejects.
 */
export async function failingProcesses(
  { appliance, id, name: key }: Environment,
  release: ReleaseRecord,
): Promise<Notice[]> {
  if (!hasWorkers(release) || release.run?.background.length === 0) return [];
  try {
    const failing = await appliance.runner.call('failing', { key });
    const byName = Map.groupBy(failing, ({ name }) => name);
    return [...byName.values()].flatMap(([first]) => first ?? []).map((process) => noticeOf(process, id));
  } catch (error) {
    appliance.log.error('background processes not checked', { app: key, release: release.number, error });
    return [];
  }
}

function noticeOf({ name, instance, crash, state }: BackgroundStatus, id: EnvironmentId): Notice {
  const next = state === 'stopped' ? 'does not start it again ("autorestart")' : 'starts it again';
  return {
    code: 'process_fails',
    message: `the release is live, but a background process fails: ${crash?.message ?? `${name}.${instance} has ended`}, and Sluice ${next}`,
    hint: `Read its output: \`sluice logs ${environmentName(id)} --worker ${name}\``,
  };
}

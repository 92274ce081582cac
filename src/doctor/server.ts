import type { RunnerInfo } from '../api/routes/server.ts';
import type { AppStatus } from '../apps/status.ts';
import { version as ownVersion } from '../cli/version.ts';
import { ownLog } from '../config/installed.ts';
import { environmentName } from '../config/paths.ts';
import { asItsUser, type Check, fault, ok, type Patient, warning } from './check.ts';

/** Whether the server answers, and is of the version that is installed here. */
export async function checkServer({ server, paths }: Patient): Promise<Check> {
  if (server.state === 'down') {
    const { code, message, hint } = server.error;
    return fault('server', message, code === 'forbidden' ? asItsUser : hint);
  }
  const { version } = server;
  if (version !== ownVersion()) {
    return warning(
      'server',
      `Sluice ${version} runs, and ${ownVersion()} is installed`,
      'Start it again. Sent SIGUSR2 it ends and leaves the apps running, for the next `sluice up` to take over.',
    );
  }
  return ok('server', `Sluice ${version} answers, with its state in ${paths.home}`);
}

/** Whether the server has a runner that it can work with: one of another version it refuses. */
export async function checkRunner({ server, systemWide }: Patient): Promise<Check | undefined> {
  if (server.state === 'down') return undefined;
  if (server.state === 'alone') return fault('runner', server.error.message, server.error.hint);
  const { runner, apps } = server.status;
  if (runner !== null) return checkDescriptors(runner, apps);
  return fault(
    'runner',
    'the server has no connection to the process that runs the apps',
    `Apps that run go on running. Another one is started by itself; ${ownLog(systemWide)} tells why it ended.`,
  );
}

/**
 * Checks that the runner is far from its limit of open files: at the limit Sluice cannot deploy or restart any app. A server
 * of an earlier version sends no figures.
 */
function checkDescriptors(
  { pid, descriptors, maxDescriptors }: Partial<RunnerInfo>,
  apps: AppStatus[],
): Check {
  const connected = `connected (pid ${pid})`;
  if (descriptors == null || maxDescriptors == null) return ok('runner', connected);
  const usage = `${connected}, ${descriptors} of ${maxDescriptors} file descriptors are open`;
  if (descriptors <= maxDescriptors / 2) return ok('runner', usage);
  const most = apps
    .toSorted((a, b) => b.descriptors - a.descriptors)
    .slice(0, 3)
    .map((app) => `${environmentName({ app: app.name, environment: app.environment })} (${app.descriptors})`);
  return warning(
    'runner',
    `${usage}; these apps use most: ${most.join(', ')}`,
    'Run fewer workers of these apps, or raise the limit: set LimitNOFILE in the unit, or run `ulimit -n` before `sluice up`.',
  );
}

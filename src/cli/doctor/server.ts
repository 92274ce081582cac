import { ownLog } from '../../config/own-log.ts';
import { version as ownVersion } from '../version.ts';
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
  const { runner } = server.status;
  if (runner !== null) return ok('runner', `connected (pid ${runner.pid})`);
  return fault(
    'runner',
    'the server has no connection to the process that runs the apps',
    `Apps that run go on running. Another one is started by itself; ${ownLog(systemWide)} tells why it ended.`,
  );
}

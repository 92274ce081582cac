import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { ServerStatus } from '../src/api/routes/server.ts';
import type { Files } from '../test/support/pack.ts';
import { type Sluice, startSluice } from '../test/support/server.ts';
import type { Scope } from './measurement.ts';
import { processTree } from './processes.ts';

/** Environment of server and runner, as bin/sluice and libexec/unit set it, with a compile cache of the benchmark. */
export const environment = {
  NODE_COMPILE_CACHE: fileURLToPath(new URL('../node_modules/.cache/sluice-bench', import.meta.url)),
  MALLOC_ARENA_MAX: '1',
};

let isCacheFilled = false;

/** Starts Sluice with a home of its own, and with a filled compile cache, as after an installation. */
export async function startAppliance(
  scope: Pick<Scope, 'after'>,
  settings: Record<string, unknown> = {},
): Promise<Sluice> {
  const sluice = await startSluice(scope, { env: environment, settings });
  if (!isCacheFilled) await restartAppliance(sluice);
  isCacheFilled = true;
  return sluice;
}

/** Ends Sluice with its apps, and starts both again. */
export async function restartAppliance(sluice: Sluice): Promise<void> {
  await sluice.stop();
  await sluice.up(environment);
}

/** Returns the files of an app that is one script. Deploys of the benchmark do not wait for the app to settle. */
export async function filesOf(script: string, settings: object = {}): Promise<Files> {
  return {
    'server.js': await readFile(script, 'utf8'),
    'sluice.json': { settleTime: 0, ...settings },
  };
}

/** Returns the pids of the server and the runner. */
export async function appliancePids(sluice: Sluice): Promise<{ server: number; runner: number }> {
  const { server, runner } = await sluice.call<ServerStatus>('GET', '/v1/status');
  if (runner === null) throw new Error('the runner does not answer');
  return { server: server.pid, runner: runner.pid };
}

/** Returns the pids of all processes of Sluice and its apps. */
export async function allPids(sluice: Sluice): Promise<number[]> {
  const { server, runner } = await appliancePids(sluice);
  return [...new Set([...(await processTree(server)), ...(await processTree(runner))])];
}

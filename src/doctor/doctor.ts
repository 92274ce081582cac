import type { Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { appsCheck, domainsCheck } from './apps.ts';
import { asItsUser, type Check, type CheckState, type Finding, fault } from './check.ts';
import { clockCheck } from './clock.ts';
import { diskCheck, logsCheck } from './disk.ts';
import { homeCheck } from './home.ts';
import { kernelCheck, limitsCheck } from './kernel.ts';
import { outsideCheck, portsCheck } from './ports.ts';
import { nodeCheck, programsCheck } from './programs.ts';
import { restartsCheck } from './restarts.ts';
import { apiCheck, runnerCheck, serverCheck, settingsCheck } from './server.ts';
import { takeSnapshot } from './snapshot.ts';
import { unitsCheck } from './units.ts';

/** All checks, in the order of the report. */
const checks: Check[] = [
  serverCheck,
  runnerCheck,
  restartsCheck,
  appsCheck,
  domainsCheck,
  settingsCheck,
  unitsCheck,
  portsCheck,
  apiCheck,
  outsideCheck,
  homeCheck,
  diskCheck,
  logsCheck,
  clockCheck,
  nodeCheck,
  programsCheck,
  limitsCheck,
  kernelCheck,
];

export interface Report {
  /** the worst state of all results */
  state: CheckState;
  checks: CheckResult[];
}

export interface CheckResult extends Finding {
  name: string;
}

/** Runs all checks. A check that fails because of the system is reported as a fault; the others still run. */
export async function examine(paths: Paths): Promise<Report> {
  const snapshot = await takeSnapshot(paths);
  const results: CheckResult[] = [];
  for (const { name, run } of checks) {
    const finding = await run(snapshot).catch(failed);
    if (finding !== undefined) results.push({ name, ...finding });
  }
  const states = new Set(results.map(({ state }) => state));
  const state = states.has('fault') ? 'fault' : states.has('warning') ? 'warning' : 'ok';
  return { state, checks: results };
}

/** @throws the error itself if it is a fault in Sluice */
function failed(error: unknown): Finding {
  const code = systemCode(error);
  if (code === undefined) throw error;
  const hint = code === 'EACCES' || code === 'EPERM' ? asItsUser : '';
  return fault(`cannot be checked: ${(error as Error).message}`, hint);
}

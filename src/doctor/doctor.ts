import type { Paths } from '../config/paths.ts';
import { systemCode } from '../errors/app-error.ts';
import { checkApps, checkDomains } from './apps.ts';
import { asItsUser, type Check, type CheckState, type Finding, fault } from './check.ts';
import { checkClock } from './clock.ts';
import { checkDisk, checkLogs } from './disk.ts';
import { checkHome } from './home.ts';
import { checkKernel, checkLimits } from './kernel.ts';
import { checkOutside, checkPorts } from './ports.ts';
import { checkNode, checkPrograms } from './programs.ts';
import { checkRestarts } from './restarts.ts';
import { checkApi, checkRunner, checkServer, checkSettings } from './server.ts';
import { takeSnapshot } from './snapshot.ts';
import { checkUnits } from './units.ts';

/** All checks, in the order of the report. */
const checks: Record<string, Check> = {
  server: checkServer,
  runner: checkRunner,
  restarts: checkRestarts,
  apps: checkApps,
  domains: checkDomains,
  settings: checkSettings,
  units: checkUnits,
  ports: checkPorts,
  api: checkApi,
  outside: checkOutside,
  home: checkHome,
  disk: checkDisk,
  logs: checkLogs,
  clock: checkClock,
  node: checkNode,
  programs: checkPrograms,
  limits: checkLimits,
  kernel: checkKernel,
};

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
  for (const [name, check] of Object.entries(checks)) {
    const findings = await Array.fromAsync(check(snapshot)).catch(failed);
    if (findings.length > 0) results.push({ name, ...summary(findings) });
  }
  return { state: worst(results), checks: results };
}

/** @throws the error itself if it is a fault in Sluice */
function failed(error: unknown): Finding[] {
  const code = systemCode(error);
  if (code === undefined) throw error;
  const hint = code === 'EACCES' || code === 'EPERM' ? asItsUser : '';
  return [fault(`cannot be checked: ${(error as Error).message}`, hint)];
}

/** Joins the findings with the worst state. */
export function summary(findings: Finding[]): Finding {
  const state = worst(findings);
  const counting = findings.filter((finding) => finding.state === state);
  const join = (texts: string[]) => [...new Set(texts)].filter((text) => text !== '').join('\n');
  return {
    state,
    message: join(counting.map(({ message }) => message)),
    hint: join(counting.map(({ hint }) => hint)),
  };
}

function worst(findings: Finding[]): CheckState {
  const states = new Set(findings.map(({ state }) => state));
  return (['fault', 'warning'] as const).find((state) => states.has(state)) ?? 'ok';
}

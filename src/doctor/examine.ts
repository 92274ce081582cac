import type { Paths } from '../config/paths.ts';
import { loadServerSettings, serverSettingsSchema } from '../config/server-settings.ts';
import { parseSettings } from '../config/settings-file.ts';
import { AppError, systemCode } from '../errors/app-error.ts';
import { listListeners } from '../system/net/listeners.ts';
import { isUnitHome } from '../system/process/systemd.ts';
import { checkApps } from './apps.ts';
import { askServer } from './ask-server.ts';
import { asItsUser, type Check, type Examination, fault, type Patient } from './check.ts';
import { checkClock } from './clock.ts';
import { checkDisk } from './disk.ts';
import { checkDomains } from './domains.ts';
import { checkExposure } from './exposure.ts';
import { checkKernel } from './kernel.ts';
import { checkLimits } from './limits.ts';
import { checkLogs } from './logs.ts';
import { checkNode } from './node.ts';
import { checkOutside } from './outside.ts';
import { checkPorts } from './ports.ts';
import { checkPrivacy } from './privacy.ts';
import { checkPrograms } from './programs.ts';
import { checkRestarts } from './restarts.ts';
import { checkRunner, checkServer } from './server.ts';
import { checkSettings } from './settings.ts';
import { checkUnits } from './units.ts';

const examinations: Record<string, Examination> = {
  server: checkServer,
  runner: checkRunner,
  restarts: checkRestarts,
  apps: checkApps,
  domains: checkDomains,
  settings: checkSettings,
  units: checkUnits,
  ports: checkPorts,
  api: checkExposure,
  outside: checkOutside,
  home: checkPrivacy,
  disk: checkDisk,
  logs: checkLogs,
  clock: checkClock,
  node: checkNode,
  programs: checkPrograms,
  limits: checkLimits,
  kernel: checkKernel,
};

/** Looks at all there is to look at; what goes wrong with one look keeps none of the others from being taken. */
export async function examine(paths: Paths): Promise<Check[]> {
  const patient = await gather(paths);
  const checks: Check[] = [];
  for (const [name, look] of Object.entries(examinations)) {
    const check = await look(patient).catch((error: unknown) => unseen(name, error));
    if (check !== undefined) checks.push(check);
  }
  return checks;
}

async function gather(paths: Paths): Promise<Patient> {
  const systemWide = await isUnitHome(paths.home);
  const [server, settings, listeners] = await Promise.all([
    askServer(paths, systemWide),
    readSettings(paths),
    listListeners(),
  ]);
  const limits =
    'value' in settings ? settings.value : parseSettings(serverSettingsSchema, {}, 'the defaults');
  return { paths, server, systemWide, listeners, settings, limits };
}

async function readSettings(paths: Paths): Promise<Patient['settings']> {
  try {
    return { value: await loadServerSettings(paths.settings) };
  } catch (error) {
    if (error instanceof AppError) return { error };
    throw error;
  }
}

/** @throws what is a fault of ours */
function unseen(name: string, error: unknown): Check {
  const code = systemCode(error);
  if (code === undefined) throw error;
  const hint = code === 'EACCES' || code === 'EPERM' ? asItsUser : '';
  return fault(name, `it could not be looked at: ${(error as Error).message}`, hint);
}

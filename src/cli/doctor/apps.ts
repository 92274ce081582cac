import { targetName } from '../../config/paths.ts';
import { formatDuration } from '../../config/units.ts';
import type { AppStatus } from '../../deployments/service.ts';
import { type Check, fault, ok, type Patient } from './check.ts';

/** How long an app may take to start before that is a fault, in ms: the longest that most of them are given to boot. */
const patience = 60_000;

/** Whether what should run does. */
export async function checkApps({ server }: Patient): Promise<Check | undefined> {
  if (server.state !== 'up') return undefined;
  const { apps } = server.status;
  const faults = apps.flatMap(faultsOf);
  if (faults.length > 0) return fault('apps', faults.join('\n'), hint);
  if (apps.length === 0) return ok('apps', 'there are none yet');
  const running = apps.filter(({ state }) => state === 'running').length;
  const others =
    running === apps.length ? '' : '; the others were stopped, are starting or have no release yet';
  return ok('apps', `${running} of ${apps.length} run${others}`);
}

const hint = `\`sluice logs APP\` has what it printed, sluice.log in the home why it could not be started.
\`sluice rollback APP\` leaves a release that does not work.`;

function faultsOf(app: AppStatus): string[] {
  const name = targetName({ app: app.name, environment: app.environment });
  const why = app.crash === null ? '' : `: ${app.crash.message}`;
  const faults: string[] = [];
  if (app.state === 'crashed') faults.push(`${name} is crashed${why}`);
  const age = Date.now() - Date.parse(app.since);
  if (app.state === 'starting' && (age > patience || app.crash !== null)) {
    faults.push(`${name} has been starting for ${formatDuration(age)}${why}`);
  }
  const open = app.workers.filter(({ state }) => state === 'open').length;
  if (app.state === 'running' && app.crash !== null && app.wanted !== null && open < app.wanted) {
    faults.push(`${name} has ${open} of ${app.wanted} workers${why}`);
  }
  for (const process of app.background) {
    if (process.state !== 'crashed') continue;
    const how = process.crash === null ? '' : `: ${process.crash.message}`;
    faults.push(`${process.name}.${process.instance} of ${name} is crashed${how}`);
  }
  return faults;
}

import type { AppStatus } from '../apps/status.ts';
import { ownLog } from '../config/installed.ts';
import { environmentName } from '../config/paths.ts';
import { formatDuration } from '../system/text/format.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';

/** How long an app may take to start before that is a fault, in ms: the longest that most of them are given to boot. */
const patience = 60_000;

/** Whether what should run does. */
export async function checkApps({ server, systemWide }: Patient): Promise<Check | undefined> {
  if (server.state !== 'up') return undefined;
  const { apps } = server.status;
  const faults = apps.flatMap(faultsOf);
  if (faults.length > 0) return fault('apps', faults.join('\n'), hint(ownLog(systemWide)));
  const waiting = apps.filter(({ rebuild, deploying }) => rebuild !== null && deploying.length === 0);
  if (waiting.length > 0)
    return warning('apps', waiting.map(restored).join('\n'), waiting.map(remedy).join('\n'));
  if (apps.length === 0) return ok('apps', 'there are none yet');
  const running = apps.filter(({ state }) => state === 'running').length;
  const others =
    running === apps.length ? '' : '; the others were stopped, are starting or have no release yet';
  return ok('apps', `${running} of ${apps.length} run${others}`);
}

const hint = (log: string) => `\`sluice logs APP\` has what it printed, ${log} why it could not be started.
\`sluice rollback APP\` leaves a release that does not work.`;

/** It is tried once at each start: a build that fails is seldom only a matter of time. */
function restored(app: AppStatus): string {
  return `${nameOf(app)} was restored, and its release ${app.rebuild} has not been built since: nothing of it runs`;
}

function remedy(app: AppStatus): string {
  const name = nameOf(app);
  return `\`sluice releases ${name}\` says why; then: sluice deploy --app ${name} --release ${app.rebuild}`;
}

function nameOf({ name: app, environment }: AppStatus): string {
  return environmentName({ app, environment });
}

function faultsOf(app: AppStatus): string[] {
  const name = nameOf(app);
  const reason = app.problem ?? app.crash;
  const why = reason === null ? '' : `: ${reason.message}`;
  const faults: string[] = [];
  if (app.state === 'crashed') faults.push(`${name} is crashed${why}`);
  const age = Date.now() - Date.parse(app.since);
  if (app.state === 'starting' && (age > patience || reason !== null)) {
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

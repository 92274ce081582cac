import { readFile } from 'node:fs/promises';
import type { RunnerInfo } from '../api/routes/server.ts';
import { listEnvironmentsWithState, loadEnvironmentState } from '../config/environment-state.ts';
import { installRoot } from '../config/installed.ts';
import { type EnvironmentId, environmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { toUrlHost } from '../system/net/address.ts';
import type { Listener } from '../system/net/listeners.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';
import { ownProcesses } from './own-processes.ts';

/** Whether the ports are ours that we and the apps are to listen on. */
export async function checkPorts(patient: Patient): Promise<Check | undefined> {
  const { listeners } = patient;
  if (listeners === undefined) return undefined;
  const own = await ownProcesses(patient);
  const faults: string[] = [];
  const heldByOthers = async (port: number, whose: string) => {
    for (const listener of listeners.filter((each) => each.port === port && isForeign(each, own))) {
      faults.push(`port ${port}, ${whose}, is held by ${await describeHolder(listener)}`);
    }
  };
  const { server, limits } = patient;
  // One that is up listens somewhere; where else somebody may listen meanwhile is for its next start.
  // On a system-wide install, systemd has the API's port, whether or not the server runs: `units` checks the socket.
  if (server.state === 'down' && limits.listen.port !== 0 && !patient.systemWide)
    await heldByOthers(limits.listen.port, 'that of the API');
  const ports = new Map<number, string>();
  for (const target of await listEnvironmentsWithState(patient.paths)) {
    const port = await portOf(patient, target);
    if (port === undefined) continue;
    const name = environmentName(target);
    const other = ports.get(port);
    if (other !== undefined) faults.push(`${other} and ${name} have the same port, ${port}`);
    ports.set(port, name);
    await heldByOthers(port, `that of ${name}`);
  }
  if (faults.length > 0) return fault('ports', faults.join('\n'), hint);
  return (
    otherAddress(patient) ??
    notHeld(patient) ??
    ok(
      'ports',
      ports.size === 0
        ? 'no app has one yet'
        : `those of ${ports.size === 1 ? 'the app' : `${ports.size} apps`} are held by nobody else`,
    )
  );
}

/** Warns if systemd opens the port of the API at another address than config.json names. */
function otherAddress({ server, limits, systemWide }: Patient): Check | undefined {
  if (server.state !== 'up' || !systemWide) return undefined;
  const { host, port } = limits.listen;
  const { url } = server.status.server;
  if (url === `http://${toUrlHost(host)}:${port}`) return undefined;
  return warning(
    'ports',
    `the API listens at ${url}, and config.json names ${toUrlHost(host)}:${port}`,
    `Run ${installRoot}/current/install.sh --yes: it writes the address of config.json into sluice.socket.`,
  );
}

/** Warns if the runner cannot keep ports from other programs while apps do not run. An earlier runner does not report it. */
function notHeld({ server }: Patient): Check | undefined {
  if (server.state !== 'up') return undefined;
  const ports = (server.status.runner as Partial<RunnerInfo> | null)?.ports;
  if (ports === undefined || process.platform !== 'linux') return undefined;
  if (ports.unavailable !== null)
    return warning(
      'ports',
      `no port is held while its app does not run: ${ports.unavailable}`,
      'Another program on this machine can then listen on the port of a stopped app, and get its requests. Sluice holds ports with /usr/bin/perl (Debian: apt-get install perl-base).',
    );
  if (ports.refused.length === 0) return undefined;
  return warning(
    'ports',
    `not held: ${ports.refused.join('; ')}`,
    `Another program has these ports: \`ss -ltnp\` shows which one. ${hint}`,
  );
}

const hint = `End what holds it, or let it listen elsewhere: an app has its port for good.
"listen.port" in config.json is that of the API; "port" in app.json of an environment can be changed while Sluice is down.`;

/** Those of others we may not be allowed to see; whoever made the socket tells then. Root's may be our own runner's. */
function isForeign({ pids, uid }: Listener, own: ReadonlySet<number>): boolean {
  if (pids.length > 0) return !pids.some((pid) => own.has(pid));
  return uid !== 0 && uid !== process.getuid?.();
}

async function describeHolder({ pids: [pid], uid }: Listener): Promise<string> {
  if (pid === undefined) return `a process of user ${uid}`;
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a process');
  return `${name.trim()} (pid ${pid})`;
}

/** What is wrong with a state is told by others. */
async function portOf({ paths }: Patient, target: EnvironmentId): Promise<number | undefined> {
  try {
    return (await loadEnvironmentState(paths.environment(target).state))?.port;
  } catch (error) {
    if (error instanceof AppError) return undefined;
    throw error;
  }
}

import type { RunnerInfo } from '../api/routes/server.ts';
import { listEnvironmentsWithState, portOf } from '../config/environment-state.ts';
import { installRoot } from '../config/installed.ts';
import { environmentName } from '../config/paths.ts';
import { listDirectory } from '../system/fs/files.ts';
import { isLoopback, toUrlHost } from '../system/net/address.ts';
import type { Listener } from '../system/net/listeners.ts';
import { processName } from '../system/process/processes.ts';
import { type Check, type Finding, fault, nameOf, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

const hint = `Stop that program, or let it listen on another port: the port of an app does not change by itself.
"listen.port" in config.json sets the port of the API. "port" in app.json of an environment can be changed while Sluice is down.`;

/** Checks that no other program listens on the ports of the API and of the apps. */
export const portsCheck: Check = {
  name: 'ports',
  async run(snapshot) {
    const { server, limits, listeners, paths, systemWide } = snapshot;
    if (listeners === undefined) return undefined;
    const own = await ownProcesses(snapshot);
    const faults: string[] = [];
    const reportOthers = async (port: number, owner: string) => {
      for (const listener of listeners.filter((each) => each.port === port && isForeign(each, own)))
        faults.push(`port ${port} of ${owner} is in use by ${describeProcess(listener)}`);
    };
    // A server that is up has its port. On a system-wide install systemd has it: `units` checks that socket.
    if (server.state === 'down' && limits.listen.port !== 0 && !systemWide)
      await reportOthers(limits.listen.port, 'the API');
    const owners = new Map<number, string>();
    for (const id of await listEnvironmentsWithState(paths)) {
      const port = await portOf(paths.environment(id).state);
      if (port === undefined) continue;
      const name = environmentName(id);
      const other = owners.get(port);
      if (other !== undefined) faults.push(`${other} and ${name} have the same port, ${port}`);
      owners.set(port, name);
      await reportOthers(port, name);
    }
    if (faults.length > 0) return fault(faults.join('\n'), hint);
    const apps = owners.size === 1 ? 'the app' : `${owners.size} apps`;
    return (
      checkAddress(snapshot) ??
      checkReservations(snapshot) ??
      ok(owners.size === 0 ? 'no app has one yet' : `no other program uses the ports of ${apps}`)
    );
  },
};

/** Warns if systemd opens the port of the API at another address than config.json names. */
function checkAddress({ server, limits, systemWide }: Snapshot): Finding | undefined {
  if (server.state !== 'up' || !systemWide) return undefined;
  const { host, port } = limits.listen;
  const { url } = server.status.server;
  if (url === `http://${toUrlHost(host)}:${port}`) return undefined;
  return warning(
    `the API listens at ${url}, and config.json names ${toUrlHost(host)}:${port}`,
    `Run ${installRoot}/current/install.sh --yes: it writes the address of config.json into sluice.socket.`,
  );
}

/** Warns if the runner cannot keep ports from other programs while apps do not run. An earlier runner does not report it. */
function checkReservations({ server }: Snapshot): Finding | undefined {
  if (server.state !== 'up') return undefined;
  const ports = (server.status.runner as Partial<RunnerInfo> | null)?.ports;
  if (ports === undefined || process.platform !== 'linux') return undefined;
  if (ports.unavailable !== null)
    return warning(
      `no port is held while its app does not run: ${ports.unavailable}`,
      'Another program on this machine can then listen on the port of a stopped app, and get its requests. Sluice holds ports with /usr/bin/perl (Debian: apt-get install perl-base).',
    );
  if (ports.refused.length === 0) return undefined;
  return warning(
    `not held: ${ports.refused.join('; ')}`,
    `Another program has these ports: \`ss -ltnp\` shows which one. ${hint}`,
  );
}

/** Returns the processes of Sluice and its apps: those in the status, and those on record, which may have ended. */
async function ownProcesses({ server, paths }: Snapshot): Promise<Set<number>> {
  const records = await listDirectory(paths.processes);
  const pids = new Set(records.flatMap((name) => /^\d+/.exec(name)?.[0] ?? []).map(Number));
  if (server.state !== 'up') return pids;
  const { apps, runner, server: own } = server.status;
  const processes = [
    own,
    ...(runner ? [runner] : []),
    ...apps.flatMap((app) => [...app.workers, ...app.background]),
  ];
  for (const { pid } of processes) if (pid !== null) pids.add(pid);
  return pids;
}

/** Judges a socket without visible process by its user. A socket of root may be our own runner's. */
function isForeign({ pids, uid }: Listener, own: ReadonlySet<number>): boolean {
  if (pids.length > 0) return !pids.some((pid) => own.has(pid));
  return uid !== 0 && uid !== process.getuid?.();
}

function describeProcess({ pids: [pid], uid }: Listener): string {
  if (pid === undefined) return `a process of user ${uid}`;
  return `${processName(pid) ?? 'a process'} (pid ${pid})`;
}

/** Checks that apps listen for other machines only on their own port: Sluice controls the address of `PORT` alone. */
export const outsideCheck: Check = {
  name: 'outside',
  async run({ server, limits, listeners }) {
    if (server.state !== 'up' || listeners === undefined) return undefined;
    const found = new Set<string>();
    for (const app of server.status.apps) {
      const pids = new Set([...app.workers, ...app.background].map(({ pid }) => pid));
      const name = nameOf(app);
      for (const listener of listeners) {
        if (listener.port === app.port || isLoopback(listener.host)) continue;
        if (!listener.pids.some((pid) => pids.has(pid))) continue;
        found.add(
          `${name} also listens on port ${listener.port} of ${listener.host}, which other machines can reach unless a firewall blocks it`,
        );
      }
    }
    if (found.size > 0) {
      return warning(
        [...found].join('\n'),
        'Let the app listen on 127.0.0.1 there, unless other machines need the port. Sluice controls only the port in PORT.',
      );
    }
    const { host } = limits.apps;
    if (isLoopback(host)) return ok('apps can be reached from this machine only');
    return ok(`apps can be reached on ${host}, each on its own port only`);
  },
};

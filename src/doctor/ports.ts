import type { ServerStatus } from '../api/routes/server.ts';
import type { AppStatus } from '../apps/status.ts';
import { listPorts } from '../config/environment-state.ts';
import { installRoot } from '../config/installed.ts';
import { environmentName } from '../config/paths.ts';
import type { ServerSettings } from '../config/server-settings.ts';
import { listDirectory } from '../system/fs/files.ts';
import { isLoopback, toUrlHost } from '../system/net/address.ts';
import type { Listener } from '../system/net/listeners.ts';
import { processName } from '../system/process/processes.ts';
import { type Finding, fault, nameOf, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

const hint = `Stop that program, or let it listen on another port: the port of an app does not change by itself.
"listen.port" in config.json sets the port of the API. "port" in app.json of an environment can be changed while Sluice is down.`;

/** Checks that no other program listens on the ports of the API and of the apps. */
export async function* checkPorts(snapshot: Snapshot): AsyncIterable<Finding> {
  const { server, limits, listeners, paths, systemWide } = snapshot;
  if (listeners === undefined) return;
  const claims = (await listPorts(paths)).map(({ id, port }) => ({ port, owner: environmentName(id) }));
  const apps = claims.length;
  for (const [port, [first, ...others]] of Map.groupBy(claims, (claim) => claim.port)) {
    for (const { owner } of others)
      yield fault(`${first?.owner} and ${owner} have the same port, ${port}`, hint);
  }
  // A server that is up has its port. On a system-wide install systemd has it: `units` checks that socket.
  if (server.state === 'down' && limits.listen.port !== 0 && !systemWide)
    claims.push({ port: limits.listen.port, owner: 'the API' });
  const own = await ownProcesses(snapshot);
  for (const { port, owner } of claims) {
    for (const listener of listeners.filter((each) => each.port === port && isForeign(each, own)))
      yield fault(`port ${port} of ${owner} is in use by ${describeProcess(listener)}`, hint);
  }
  if (server.state === 'up') {
    if (systemWide) yield* checkAddress(server.status, limits);
    yield* checkReservations(server.status);
  }
  const users = apps === 1 ? 'the app' : `${apps} apps`;
  yield ok(apps === 0 ? 'no app has one yet' : `no other program uses the ports of ${users}`);
}

/** Warns if systemd opens the port of the API at another address than config.json names. */
function* checkAddress({ server: { url } }: ServerStatus, { listen }: ServerSettings): Iterable<Finding> {
  const named = `${toUrlHost(listen.host)}:${listen.port}`;
  if (url === `http://${named}`) return;
  yield warning(
    `the API listens at ${url}, and config.json names ${named}`,
    `Run ${installRoot}/current/install.sh --yes: it writes the address of config.json into sluice.socket.`,
  );
}

/** Warns if the runner cannot keep ports from other programs while apps do not run. */
function* checkReservations({ runner }: ServerStatus): Iterable<Finding> {
  if (runner === null || process.platform !== 'linux') return;
  const { ports } = runner;
  if (ports.unavailable !== null) {
    yield warning(
      `Sluice does not hold the ports of stopped apps: ${ports.unavailable}`,
      'Another program on this machine can then listen on the port of a stopped app, and get its requests. Sluice holds ports with /usr/bin/perl (Debian: apt-get install perl-base).',
    );
  } else if (ports.refused.length > 0) {
    yield warning(
      `not held: ${ports.refused.join('; ')}`,
      `Another program has these ports: \`ss -ltnp\` shows which one. ${hint}`,
    );
  }
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
export function* checkOutside({ server, limits, listeners }: Snapshot): Iterable<Finding> {
  if (server.state !== 'up' || listeners === undefined) return;
  for (const app of server.status.apps) {
    const pids = new Set([...app.workers, ...app.background].map(({ pid }) => pid));
    for (const { host, port, pids: holders } of listeners) {
      if (port === app.port || isLoopback(host) || !holders.some((pid) => pids.has(pid))) continue;
      yield warning(
        `${nameOf(app)} also listens on port ${port} of ${host}, which other machines can reach unless a firewall blocks it`,
        'Let the app listen on 127.0.0.1 there, unless other machines need the port. Sluice controls only the port in PORT.',
      );
    }
  }
  yield ok(describeReach(server.status.apps, limits.apps.host));
}

/** Describes from where apps can be reached on their own ports. @param usual address of apps that have none of their own */
function describeReach(apps: readonly AppStatus[], usual: string): string {
  const reach = isLoopback(usual) ? 'from this machine only' : `on ${usual}, each on its own port only`;
  const others = apps
    .filter(({ host, url }) => url !== null && host !== usual)
    .map((app) => `${nameOf(app)} (port ${app.port} of ${app.host})`);
  return `apps can be reached ${reach}${others.length === 0 ? '' : `, except ${others.join(', ')}`}`;
}

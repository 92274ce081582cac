import { readFile, readlink } from 'node:fs/promises';
import { ownEnvironment, run } from './run.ts';

/**
 * Reports to systemd that this process is ready, if systemd has started it. Node.js has no unix datagrams, so a program of systemd
 * sends the report.
 * @param status text for `systemctl status`
 */
export async function notifySystemd(status: string): Promise<void> {
  const socket = process.env['NOTIFY_SOCKET'];
  if (!socket) return;
  const argv = ['--ready', `--status=${status}`];
  await run('systemd-notify', argv, { env: ownEnvironment({ NOTIFY_SOCKET: socket }) });
}

/** Unit as systemd describes it. */
export interface Unit {
  id: string;
  /** `loaded`, or `not-found` */
  load: string;
  /** `active`, `inactive`, `failed`, `activating`… */
  active: string;
  /** `enabled`: it starts with the machine */
  enabled: string;
  environment: string[];
}

const properties = 'Id,LoadState,ActiveState,UnitFileState,Environment';

/** Describes the units that exist; none if systemd does not run. */
export async function showUnits(names: string[]): Promise<Unit[]> {
  const output = await outputOf('systemctl', ['show', `--property=${properties}`, ...names]);
  const units = (output ?? '').split('\n\n').map(unitIn);
  return units.filter(({ load }) => load === 'loaded');
}

/** Returns true if systemd starts the Sluice with this home: a system-wide install. */
export async function isUnitHome(home: string): Promise<boolean> {
  const [unit] = await showUnits(['sluice.service']);
  return unit?.environment.includes(`SLUICE_HOME=${home}`) ?? false;
}

/** Returns the output of a program of the system, such as systemctl; undefined if the program is missing or fails. */
export async function outputOf(program: string, args: string[]): Promise<string | undefined> {
  try {
    return (await run(program, args, { timeout: 10_000 })).stdout;
  } catch {
    return undefined;
  }
}

function unitIn(block: string): Unit {
  const values = new Map(block.split('\n').map((line) => line.split(/=(.*)/s, 2) as [string, string]));
  return {
    id: values.get('Id') ?? '',
    load: values.get('LoadState') ?? '',
    active: values.get('ActiveState') ?? '',
    enabled: values.get('UnitFileState') ?? '',
    environment: (values.get('Environment') ?? '').split(/\s+/),
  };
}

/** The first descriptor that systemd passes (source: sd_listen_fds(3)). */
const firstDescriptor = 3;

/** Listening socket that systemd has passed to this process. */
export interface PassedSocket {
  fd: number;
  /** `FileDescriptorName` of the socket's unit; empty if unknown */
  name: string;
}

/**
 * Returns the listening sockets that systemd has passed to this process, and removes the variables: they are not for children.
 * Node.js has made the descriptors close-on-exec at its start.
 */
export function takePassedSockets(env: NodeJS.ProcessEnv = process.env): PassedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const count = Number(LISTEN_FDS);
  if (Number(LISTEN_PID) !== process.pid || !Number.isInteger(count) || count < 1) return [];
  const names = LISTEN_FDNAMES.split(':');
  return Array.from({ length: count }, (_, index) => ({
    fd: firstDescriptor + index,
    name: names[index] ?? '',
  }));
}

/** Returns the path of a unix socket that was passed; undefined for other sockets. Node.js knows only paths that it has bound itself. */
export async function pathOfSocket(fd: number): Promise<string | undefined> {
  const inode = /^socket:\[(\d+)\]$/.exec(await readlink(`/proc/self/fd/${fd}`))?.[1];
  // Source: proc(5), /proc/net/unix. A path may contain spaces.
  const line = new RegExp(`^(?:\\S+ +){6}${inode} (/.+)$`, 'm');
  return line.exec(await readFile('/proc/net/unix', 'utf8'))?.[1];
}

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

/**
 * Returns the descriptors of the listening sockets that systemd has passed to this process, and removes the variables: they
 * are not for children. Node.js has made the descriptors close-on-exec at its start.
 */
export function takePassedSockets(env: NodeJS.ProcessEnv = process.env): number[] {
  const { LISTEN_PID, LISTEN_FDS } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name];
  const count = Number(LISTEN_FDS);
  if (Number(LISTEN_PID) !== process.pid || !Number.isInteger(count) || count < 1) return [];
  return Array.from({ length: count }, (_, index) => firstDescriptor + index);
}

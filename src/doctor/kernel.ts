import { readFile } from 'node:fs/promises';
import { ifThere } from '../system/fs/exists.ts';
import { type Finding, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

interface Sysctl {
  name: string;
  /** value to set */
  remedy: number;
  isWrong(value: string): boolean;
  /** Describes the effect of a wrong value. */
  effect: string;
}

/**
 * Setting that moves waiting connections of a closed socket to another socket on the same port (Linux 5.14 and later, off by
 * default; source: Documentation/networking/ip-sysctl.rst).
 */
const migration: Sysctl = {
  name: 'net.ipv4.tcp_migrate_req',
  remedy: 1,
  isWrong: (value) => value === '0',
  effect:
    "when the runner is killed or replaced, a few connections that wait on the old workers' socket are reset",
};

/** Limit of connections that wait until a program accepts them. Node.js, and so most apps, ask for 511 (net: `backlog`). */
const backlog: Sysctl = {
  name: 'net.core.somaxconn',
  remedy: 4096,
  isWrong: (value) => Number(value) < 511,
  effect: 'during a burst or a switch, no more connections than this can wait, and further ones are delayed',
};

/**
 * Setting that keeps users from making a hard link to a file that they cannot change (since Linux 3.6; all distributions turn
 * it on; source: Documentation/admin-guide/sysctl/fs.rst).
 */
const hardLinks: Sysctl = {
  name: 'fs.protected_hardlinks',
  remedy: 1,
  isWrong: (value) => value === '0',
  effect: "an app can link to another user's file, and Sluice would read the file as the app's own",
};

const unaffected = 'Deploys, rollbacks and restarts lose no request with either value.';

/** Checks the settings of the kernel that prevent lost requests and keep users apart. */
export async function* checkKernel({ systemWide }: Snapshot): AsyncIterable<Finding> {
  if (process.platform !== 'linux') return;
  for (const sysctl of [backlog, migration, ...(systemWide ? [hardLinks] : [])]) {
    const { name, remedy, isWrong, effect } = sysctl;
    const value = await read(name);
    const rest = sysctl === migration ? `\n${unaffected}` : '';
    if (value === undefined && sysctl === migration)
      yield warning(`there is no ${name}: ${effect}`, `Linux has it from 5.14 on.${rest}`);
    if (value !== undefined && isWrong(value))
      yield warning(`${name} is ${value}: ${effect}`, `${howToSet(name, remedy)}${rest}`);
  }
  yield ok(`${migration.name} is on, and ${(await read(backlog.name)) ?? 'enough'} connections can wait`);
}

function howToSet(name: string, value: number): string {
  return `As root: sysctl -w ${name}=${value}
To keep it after a reboot: echo ${name}=${value} >> /etc/sysctl.d/60-sluice.conf`;
}

/** Returns undefined if this kernel or this network namespace does not have the setting. */
async function read(name: string): Promise<string | undefined> {
  return (await ifThere(readFile(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8')))?.trim();
}

/** Settings of an app that each controller applies. */
const settingsOf = { memory: '"memoryLimit" and "buildMemory"', cpu: '"cpuWeight"', pids: '"maxProcesses"' };

/** Checks that the kernel can limit memory, processor time and processes of apps. */
export function* checkLimits({ server }: Snapshot): Iterable<Finding> {
  if (server.state !== 'up' || server.status.runner === null) return;
  const { version, missing, reason, wanted } = server.status.runner.limits;
  const idle = missing.map((controller) => settingsOf[controller]).join(', ');
  if (!wanted) yield ok(`off, as always with a local Sluice: ${reason}`);
  else if (reason !== null) yield warning(`off: ${reason}`, cgroupRemedy);
  else if (missing.length === 0) yield ok(`memory, processor and processes, by cgroups v${version}`);
  else yield warning(`${missing.join(', ')} cannot be limited: ${idle} have no effect`, cgroupRemedy);
}

const cgroupRemedy = `Give the unit Delegate=yes. Check it: \`systemctl show --property=Delegate,DelegateControllers sluice-runner\`.
A controller that is missing in /proc/cgroups, or has a 0 in its last column, is off in the kernel: for memory, boot with cgroup_enable=memory.
Apps run without these limits, but one app can take memory or processor time from the others.`;

import { readFile } from 'node:fs/promises';
import { ifThere } from '../system/fs/exists.ts';
import { type Check, ok, warning } from './check.ts';

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
export const kernelCheck: Check = {
  name: 'kernel',
  async run({ systemWide }) {
    if (process.platform !== 'linux') return undefined;
    const messages: string[] = [];
    const hints: string[] = [];
    for (const sysctl of [backlog, migration, ...(systemWide ? [hardLinks] : [])]) {
      const { name, remedy, isWrong, effect } = sysctl;
      const value = await read(name);
      const isMissing = value === undefined && sysctl === migration;
      if (!isMissing && (value === undefined || !isWrong(value))) continue;
      messages.push(isMissing ? `there is no ${name}: ${effect}` : `${name} is ${value}: ${effect}`);
      hints.push(isMissing ? 'Linux has it from 5.14 on.' : howToSet(name, remedy));
      if (sysctl === migration) hints.push(unaffected);
    }
    if (messages.length > 0) return warning(messages.join('\n'), hints.join('\n'));
    return ok(`${migration.name} is on, and ${(await read(backlog.name)) ?? 'enough'} connections can wait`);
  },
};

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
export const limitsCheck: Check = {
  name: 'limits',
  async run({ server }) {
    if (server.state !== 'up' || server.status.runner === null) return undefined;
    const { version, missing, reason, wanted } = server.status.runner.limits;
    if (!wanted) return ok(`off, as always with a local Sluice: ${reason}`);
    if (reason !== null) return warning(`off: ${reason}`, cgroupRemedy);
    if (missing.length === 0) return ok(`memory, processor and processes, by cgroups v${version}`);
    const idle = missing.map((controller) => settingsOf[controller]).join(', ');
    return warning(`${missing.join(', ')} cannot be limited: ${idle} have no effect`, cgroupRemedy);
  },
};

const cgroupRemedy = `Give the unit Delegate=yes. Check it: \`systemctl show --property=Delegate,DelegateControllers sluice-runner\`.
A controller that is missing in /proc/cgroups, or has a 0 in its last column, is off in the kernel: for memory, boot with cgroup_enable=memory.
Apps run without these limits, but one app can take memory or processor time from the others.`;

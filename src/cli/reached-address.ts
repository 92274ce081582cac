import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { findServer } from '../client/server-address.ts';
import { fromUrlHost, isLoopback } from '../system/net/address.ts';
import { parentOf, variableOf } from '../system/process/processes.ts';
import { outputOf } from '../system/process/systemd.ts';

export interface SshAddress {
  /** a name, or an address without brackets */
  host: string;
  port: number;
}

/**
 * Returns the address by which people most likely reach sshd on the machine of the server: the host of SLUICE_URL, the
 * address of the login that this process runs in, or the machine's first address. A NAT may hide the one that works.
 * @returns undefined if there is none, as behind a tunnel
 */
export async function reachedAddress(): Promise<SshAddress | undefined> {
  const server = await findServer();
  if (server.kind === 'url') {
    const host = fromUrlHost(server.url.hostname);
    return isLoopback(host) ? undefined : { host, port: 22 };
  }
  return addressOfThisMachine();
}

async function addressOfThisMachine(): Promise<SshAddress | undefined> {
  const ofLogin = parseSshConnection(sshConnection());
  if (ofLogin !== undefined) return ofLogin;
  const [host] = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ address, internal }) => !internal && isUsable(address))
    .sort((one, other) => one.family.localeCompare(other.family))
    .map(({ address }) => address);
  return host === undefined ? undefined : { host, port: await portOfSshd() };
}

/** Returns the server's end of SSH_CONNECTION, which is `CLIENT PORT SERVER PORT` (ssh(1)); undefined if others cannot use it. */
export function parseSshConnection(text: string): SshAddress | undefined {
  const [, , host = '', port = ''] = text.split(' ');
  return isUsable(host) && /^\d{1,5}$/.test(port) ? { host, port: Number(port) } : undefined;
}

/** Returns true if other machines may reach the address. A link-local address is valid on one link only. */
function isUsable(address: string): boolean {
  return isIP(address) !== 0 && !isLoopback(address) && !/^fe[89ab]|%/i.test(address);
}

/** Returns SSH_CONNECTION of this process, or of the closest process above it that has one: sudo removes the variable. */
function sshConnection(): string {
  for (let pid: number | undefined = process.pid; pid !== undefined && pid > 1; pid = parentOf(pid)) {
    const found = variableOf(pid, 'SSH_CONNECTION');
    if (found !== undefined) return found;
  }
  return process.env['SSH_CONNECTION'] ?? '';
}

/** Returns the port of sshd. Only root may ask sshd; returns 22 otherwise. */
async function portOfSshd(): Promise<number> {
  const settings = await outputOf('/usr/sbin/sshd', ['-T']);
  return Number(/^port (\d+)$/m.exec(settings ?? '')?.[1] ?? 22);
}

// For install.sh.
if (import.meta.main) {
  const address = await addressOfThisMachine();
  if (address !== undefined) process.stdout.write(`${address.host} ${address.port}\n`);
}

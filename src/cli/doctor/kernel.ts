import { readFile } from 'node:fs/promises';
import { systemCode } from '../../errors/app-error.ts';
import { type Check, ok, warning } from './check.ts';

const path = '/proc/sys/net/ipv4/tcp_migrate_req';

/**
 * Whether the kernel moves connections that wait on a socket, when it is closed, to another one on the same port (Linux
 * 5.14 and later, off by default; source: Documentation/networking/ip-sysctl.rst).
 */
export async function checkKernel(): Promise<Check | undefined> {
  if (process.platform !== 'linux') return undefined;
  const value = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  if (value === undefined) {
    return warning(
      'kernel',
      `there is no net.ipv4.tcp_migrate_req: ${consequence}`,
      `Linux has it from 5.14 on. ${otherwise}`,
    );
  }
  if (value.trim() !== '0') return ok('kernel', 'net.ipv4.tcp_migrate_req is on');
  return warning('kernel', `net.ipv4.tcp_migrate_req is 0: ${consequence}`, `${remedy}\n${otherwise}`);
}

const consequence =
  "when the runner is killed or replaced, a few connections that wait on the old workers' socket are reset";

const remedy = `As root: sysctl -w net.ipv4.tcp_migrate_req=1
To keep it over reboots: echo net.ipv4.tcp_migrate_req=1 > /etc/sysctl.d/60-sluice.conf`;

const otherwise =
  'Nothing else is affected: deploys, rollbacks and restarts never lose a request either way.';

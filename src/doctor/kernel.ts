import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import { type Check, ok, type Patient, warning } from './check.ts';

/**
 * Whether the kernel moves connections that wait on a socket, when it is closed, to another one on the same port (Linux
 * 5.14 and later, off by default; source: Documentation/networking/ip-sysctl.rst).
 */
const migrates = 'net.ipv4.tcp_migrate_req';

/** How many connections may wait until they are accepted, whatever a program asks for. */
const waiting = 'net.core.somaxconn';

/**
 * Whether the kernel keeps users from giving a second name to a file that they could not change (since Linux 3.6, on where
 * the distribution says so, as all of them do; source: Documentation/admin-guide/sysctl/fs.rst).
 */
const guardsLinks = 'fs.protected_hardlinks';

/** What Node.js asks for, and so each app unless it says otherwise (net: `backlog`). */
const backlog = 511;

/** Whether the kernel is set so that no request is lost that need not be, and that users are kept apart. */
export async function checkKernel({ systemWide }: Patient): Promise<Check | undefined> {
  if (process.platform !== 'linux') return undefined;
  const [queue, moves] = [await sysctl(waiting), await sysctl(migrates)];
  const links = systemWide ? await sysctl(guardsLinks) : undefined;
  const wrong = [...aboutQueue(queue), ...aboutMoving(moves), ...aboutLinks(links)];
  if (wrong.length === 0)
    return ok('kernel', `${migrates} is on, and ${queue ?? 'enough'} connections may wait`);
  return warning(
    'kernel',
    wrong.map(({ message }) => message).join('\n'),
    wrong.map(({ hint }) => hint).join('\n'),
  );
}

interface Wrong {
  message: string;
  hint: string;
}

function aboutQueue(value: string | undefined): Wrong[] {
  if (value === undefined || Number(value) >= backlog) return [];
  const message = `${waiting} is ${value}: of connections that come in a burst, or during a switch, no more than that may wait, and the rest comes in late`;
  return [{ message, hint: set(waiting, 4096) }];
}

function aboutMoving(value: string | undefined): Wrong[] {
  if (value === undefined) {
    return [
      { message: `there is no ${migrates}: ${consequence}`, hint: `Linux has it from 5.14 on. ${otherwise}` },
    ];
  }
  if (value !== '0') return [];
  return [{ message: `${migrates} is 0: ${consequence}`, hint: `${set(migrates, 1)}\n${otherwise}` }];
}

function aboutLinks(value: string | undefined): Wrong[] {
  if (value !== '0') return [];
  const message = `${guardsLinks} is 0: an app can put a file of somebody else's among its own, and have Sluice read it as the app's`;
  return [{ message, hint: set(guardsLinks, 1) }];
}

const consequence =
  "when the runner is killed or replaced, a few connections that wait on the old workers' socket are reset";

const otherwise =
  'Nothing else is affected: deploys, rollbacks and restarts never lose a request either way.';

function set(name: string, value: number): string {
  return `As root: sysctl -w ${name}=${value}
To keep it over reboots: echo ${name}=${value} >> /etc/sysctl.d/60-sluice.conf`;
}

/** Undefined where this kernel, or this network namespace, has no such setting. */
async function sysctl(name: string): Promise<string | undefined> {
  try {
    return (await readFile(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8')).trim();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

import { readFile } from 'node:fs/promises';
import { listListeners } from '../system/net/listeners.ts';
import { outputOf } from '../system/process/systemd.ts';
import { NginxError } from './nginx.ts';

interface Holder {
  name: string;
  pid: number;
}

/** Returns an error that names the program that has a port that nginx needs; undefined if only nginx has these ports. */
export async function portConflict(ports: readonly number[]): Promise<NginxError | undefined> {
  for (const port of ports) {
    const holder = (await holdersOf(port)).find(({ name }) => name !== 'nginx');
    if (holder === undefined) continue;
    return new NginxError(
      `port ${port}, which nginx needs, is in use by ${holder.name} (process ${holder.pid})`,
      `Stop ${holder.name} or move it to another port, then add the domain again.`,
    );
  }
  return undefined;
}

async function holdersOf(port: number): Promise<Holder[]> {
  const listeners = (await listListeners())?.filter((each) => each.port === port) ?? [];
  const pids = listeners.flatMap((each) => each.pids);
  if (listeners.length > 0 && pids.length === 0) return askSystemd(port);
  return Promise.all(pids.map(async (pid) => ({ name: await nameOf(pid), pid })));
}

async function nameOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a process')).trim();
}

/** Lists the holders of a port with `ss` outside of our unit: the unit may not look into processes of others. */
async function askSystemd(port: number): Promise<Holder[]> {
  const ss = ['ss', '--no-header', '--listening', '--tcp', '--numeric', '--processes', `sport = :${port}`];
  const listed = (await outputOf('systemd-run', ['--quiet', '--wait', '--pipe', '--collect', ...ss])) ?? '';
  return [...listed.matchAll(/\("([^"]*)",pid=(\d+)/g)].map(([, name = '', pid]) => ({
    name,
    pid: Number(pid),
  }));
}
